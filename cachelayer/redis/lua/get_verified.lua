-- KEYS: the rows' keys, and last the incarnation
-- Returns the values of the keys, and last the incarnation, if it is this server's. In the strict
-- mode, a connection that was led to another server must not give a hit.
local values = redis.call('MGET', unpack(KEYS))
values[#values] = own_incarnation(KEYS[#KEYS])
return values
