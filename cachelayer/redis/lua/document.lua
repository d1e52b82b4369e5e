-- KEYS: documents, and last the incarnation   ARGV: the start of keys, 1 to return the incarnation
-- Returns what each key reads as, then the incarnation, if it is this server's.
local values = redis.call('MGET', unpack(KEYS, 1, #KEYS - 1))
for i, value in ipairs(values) do
  values[i] = checked(value, ARGV[1])
end
if ARGV[2] == '1' then
  values[#values + 1] = own_incarnation(KEYS[#KEYS])
end
return values
