-- KEYS: the rows' keys, and last the incarnation
-- Answers what the keys hold, and last the incarnation, if it is this very server's: for the
-- strict choice, where a connection that was led elsewhere must not give a hit.
local values = redis.call('MGET', unpack(KEYS))
values[#values] = own_incarnation(KEYS[#KEYS])
return values
