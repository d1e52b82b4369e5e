-- ARGV: SCAN cursor, pattern, COUNT. One step of counting the cached rows of a
-- node: answers the next cursor and how many keys of this step hold a row.
local step = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local rows = 0
for _, key in ipairs(step[2]) do
  if redis.call('TYPE', key)['ok'] == 'string' and redis.call('GETRANGE', key, 0, 0) == '{' then
    rows = rows + 1
  end
end
return {step[1], rows}
