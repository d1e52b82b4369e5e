-- KEYS: an unused key, the sign of life of a reconcile, the variants, and the incarnation, all of one
-- shard
-- Tests whether the node accepts writes, as `probe.lua`. Returns the incarnation, if it is this
-- node's, and the sign. While the slot moves, Redis refuses a script whose keys are not all on this node.
redis.call('SET', KEYS[1], '1', 'PX', 1000)
redis.call('UNLINK', KEYS[1])
return {own_incarnation(KEYS[4]), redis.call('GET', KEYS[2])}
