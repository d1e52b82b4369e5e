-- KEYS: the rows' keys, and last the incarnation
-- Answers what the keys hold, and last the incarnation, if it is this very server's: for the
-- strict choice, where a connection that was led elsewhere must not give a hit.
local values = redis.call('MGET', unpack(KEYS))
local info = redis.call('INFO', 'replication')
-- A replica says its primary's.
local term = string.find(info, 'role:master', 1, true) and string.match(info, 'master_replid:(%x+)')
local incarnation = values[#values] or ''
if not (term and string.find(incarnation, ':' .. term .. ' ', 1, true)) then
  values[#values] = ''
end
return values
