-- KEYS[1] the incarnation   ARGV: the settling value that this reconcile wrote, the trusted one
-- Another process may have found a second FLUSHALL and written a later epoch. Then this reconcile
-- has not waited long enough.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return 1
end
return 0
