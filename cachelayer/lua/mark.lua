-- KEYS[1] the row's key   ARGV: the mark, its lifetime in ms
-- The mark says in itself when it is over. It has no TTL: under a volatile-*
-- policy Redis evicts only keys that have one. Were a mark evicted, a reader
-- could fill the old row before the COMMIT, and if the writer is killed it stays.
local now = redis.call('TIME')
local over = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2]
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%d', over))
return 1
