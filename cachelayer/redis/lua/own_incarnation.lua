-- The incarnation under *key*, if it is this server's; else ''. A replica has a copy of the key, so
-- it would name the primary.
local function own_incarnation(key)
  local incarnation = redis.call('GET', key) or ''
  local info = redis.call('INFO', 'replication')
  local term = string.find(info, 'role:master', 1, true)
    and string.match(info, 'master_replid:(%x+)')
  return term and string.find(incarnation, ':' .. term .. ' ', 1, true) and incarnation or ''
end
