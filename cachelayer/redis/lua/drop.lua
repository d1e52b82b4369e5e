-- KEYS the rows' keys, and last the variants   ARGV[1] what keys begin with
-- Deletes rows, nulls and leases; a mark stays, for its transaction may be committing. What is no string is somebody else's. Answers how many were deleted.
local rows = {unpack(KEYS, 1, #KEYS - 1)}
local deleted = delete_variants(rows, ARGV[1], KEYS[#KEYS])
for _, key in ipairs(rows) do
  if redis.call('TYPE', key)['ok'] == 'string' and redis.call('GETRANGE', key, 0, 1) ~= 'w:' then
    deleted = deleted + redis.call('UNLINK', key)
  end
end
return deleted
