-- KEYS the rows' keys. Deletes rows, nulls and leases; a mark stays, for its transaction may
-- be committing. What is no string is somebody else's. Answers how many were deleted.
local deleted = 0
for _, key in ipairs(KEYS) do
  if redis.call('TYPE', key)['ok'] == 'string' and redis.call('GETRANGE', key, 0, 1) ~= 'w:' then
    deleted = deleted + redis.call('UNLINK', key)
  end
end
return deleted
