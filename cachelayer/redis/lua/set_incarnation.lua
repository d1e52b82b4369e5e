-- KEYS: an unused key, the variants, and the incarnation, all of one shard
-- ARGV: the value that it must hold ('': any), the new value
-- As `trust.lua`. With three keys, so that Redis refuses it while the slot moves.
if ARGV[1] == '' or redis.call('GET', KEYS[3]) == ARGV[1] then
  redis.call('SET', KEYS[3], ARGV[2])
  return 1
end
return 0
