-- KEYS the rows' keys, and last the variants   ARGV[1] what keys begin with. Deletes rows, nulls and leases; a mark stays, for its transaction may
-- be committing. What is no string is somebody else's. Answers how many were deleted.
local deleted = 0
local rows = {unpack(KEYS, 1, #KEYS - 1)}
for _, key in ipairs(with_variants(rows, ARGV[1], read_variants(KEYS[#KEYS]))) do
  if redis.call('TYPE', key)['ok'] == 'string' and redis.call('GETRANGE', key, 0, 1) ~= 'w:' then
    deleted = deleted + redis.call('UNLINK', key)
  end
end
return deleted
