-- KEYS: keys of one variant, the hash of variants, and last the incarnation
-- ARGV: the variant, what its entry must be (closing and a token), what must follow the server's
-- name in the incarnation, 1 if these are the last keys
-- Deletes the values of this variant's keys, and the variant after the last keys. Returns -1 and
-- deletes nothing if the variant is in use again, or on another server.
local incarnation = own_incarnation(KEYS[#KEYS])
if string.sub(incarnation, -#ARGV[3]) ~= ARGV[3]
  or redis.call('HGET', KEYS[#KEYS - 1], ARGV[1]) ~= ARGV[2] then
  return -1
end
for i = 1, #KEYS - 2 do
  redis.call('UNLINK', KEYS[i])
end
if ARGV[4] == '1' then
  redis.call('HDEL', KEYS[#KEYS - 1], ARGV[1])
end
return #KEYS - 2
