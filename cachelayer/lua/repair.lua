-- KEYS[1] the row's key   ARGV: the repair's own mark, its lifetime in ms
local value = redis.call('GET', KEYS[1])
if not value then
  return 0
end
-- A mark here may belong to a writer that committed before the write that was
-- logged; were it left, that writer's late push would store the older row.
if string.sub(value, 1, 2) == 'w:' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
