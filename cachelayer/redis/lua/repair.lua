-- KEYS: the rows' keys, the variants, and last the incarnation   ARGV: the repair's mark, of no
-- transaction; what must follow the server's name in the incarnation; the start of keys
-- Returns -1 and repairs nothing unless this is the server that was reconciled last. A repair of
-- another server would be useless, and the log row is deleted after it.
--
-- Rows, nulls and leases are deleted. A mark may belong to a writer that committed before the
-- logged write, so the repair adds its mark behind it, and a late push stores nothing. Marks are
-- not deleted, because one may belong to a transaction in flight.
local incarnation = own_incarnation(KEYS[#KEYS])
if string.sub(incarnation, -#ARGV[2]) ~= ARGV[2] then
  return -1
end
local rows = {unpack(KEYS, 1, #KEYS - 2)}
delete_variants(rows, ARGV[3], KEYS[#KEYS - 1])
for _, key in ipairs(rows) do
  if redis.call('TYPE', key)['ok'] == 'string' then
    if redis.call('GETRANGE', key, 0, 1) ~= 'w:' then
      redis.call('UNLINK', key)
    elseif redis.call('GETRANGE', key, -2, -1) ~= ':0' then
      redis.call('APPEND', key, ' ' .. ARGV[1])
    end
  end
end
return #rows
