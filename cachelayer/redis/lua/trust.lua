-- KEYS[1] the incarnation   ARGV: the settling value that this reconcile wrote, the trusted one
-- Somebody may have found another FLUSHALL meanwhile and written a later epoch: then what this
-- reconcile has waited for is not enough.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return 1
end
return 0
