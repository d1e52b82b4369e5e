-- KEYS[1] the row's key   ARGV: the repair's own mark, its lifetime in ms
if redis.call('TYPE', KEYS[1])['ok'] ~= 'string' then
  return 0
end
-- A mark here may belong to a writer that committed before the write that was
-- logged (or, on a Redis with old data, long ago): were it left, a late push of
-- that writer would store the older row. Were it deleted, a second, late sweep
-- could take the mark of a transaction in flight.
if redis.call('GETRANGE', KEYS[1], 0, 1) == 'w:' then
  local now = redis.call('TIME')
  local over = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2]
  redis.call('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%d', over))
  return 1
end
return redis.call('DEL', KEYS[1])
