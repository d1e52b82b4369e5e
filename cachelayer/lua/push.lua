-- KEYS[1] the row's key   ARGV: the mark, the row (or null, or '' for "delete"), its lifetime in ms
local value = redis.call('GET', KEYS[1])
local own = ARGV[1] .. ':'
if value and string.sub(value, 1, #own) == own then
  if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
    return 'invalidated'
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 'pushed'
end
-- Another writer's mark: it has locked the row after this writer committed, so
-- its row is the newer one. Were it overwritten here and that writer killed
-- after its COMMIT, this row would stay.
if value and string.sub(value, 1, 2) == 'w:' then
  return 'superseded'
end
-- The mark was lost (flushed, or over): whatever stands here may have been
-- loaded before the COMMIT.
redis.call('DEL', KEYS[1])
return 'lost'
