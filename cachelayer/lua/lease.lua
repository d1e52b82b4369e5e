-- KEYS[1] the row's key, KEYS[2] the incarnation   ARGV: the lease, its lifetime in ms
-- No lease unless the incarnation is trusted: after a FLUSHALL the marks of
-- transactions in flight are gone, and a fill could store the row from before
-- their COMMIT.
local incarnation = redis.call('GET', KEYS[2])
if not incarnation or not string.find(incarnation, ' trusted ', 1, true) then
  return -1
end
local value = redis.call('GET', KEYS[1])
if value then
  local over = string.match(value, '^w:[^:]*:(%d+)$')
  if not over then
    return 0
  end
  -- A mark that is over: its writer was killed, and its transaction has ended.
  local now = redis.call('TIME')
  if now[1] * 1000 + math.floor(now[2] / 1000) <= tonumber(over) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
