-- KEYS: documents, and last the incarnation   ARGV: what keys begin with, 1 to answer the incarnation
-- Answers what each key reads as, then the incarnation, if it is this very server's.
local values = redis.call('MGET', unpack(KEYS, 1, #KEYS - 1))
for i, value in ipairs(values) do
  values[i] = checked(value, ARGV[1])
end
if ARGV[2] == '1' then
  values[#values + 1] = own_incarnation(KEYS[#KEYS])
end
return values
