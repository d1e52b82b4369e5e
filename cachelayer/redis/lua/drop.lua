-- KEYS the rows' keys, and last the variants   ARGV[1] the start of keys
-- Deletes rows, nulls and leases. A mark stays, because its transaction may be committing. A value
-- that is not a string is not ours. Returns how many were deleted.
local rows = {unpack(KEYS, 1, #KEYS - 1)}
local deleted = delete_variants(rows, ARGV[1], KEYS[#KEYS])
for _, key in ipairs(rows) do
  if redis.call('TYPE', key)['ok'] == 'string' and redis.call('GETRANGE', key, 0, 1) ~= 'w:' then
    deleted = deleted + redis.call('UNLINK', key)
  end
end
return deleted
