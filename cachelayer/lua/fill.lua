-- KEYS[1] the row's key   ARGV: the lease, the row (or null), its lifetime in ms
-- Only the reader whose lease still stands may fill: a write or a clear in the
-- meantime has replaced it, and what the reader loaded may be older than that.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return 0
