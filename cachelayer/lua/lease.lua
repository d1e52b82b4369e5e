-- KEYS[1] the row's key, KEYS[2] the incarnation   ARGV: the lease, its lifetime in ms
-- No lease unless the incarnation is trusted: after a FLUSHALL the marks of
-- transactions in flight are gone, and a fill could store the row from before
-- their COMMIT.
local incarnation = redis.call('GET', KEYS[2])
if not incarnation or not string.find(incarnation, ' trusted ', 1, true) then
  return -1
end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
return 0
