-- KEYS the rows' keys   ARGV: the lease, then a row (or null) and its lifetime in ms for each
-- Only the reader whose lease still stands may fill: a write or a clear in the meantime has
-- replaced it, and what the reader loaded may be older than that.
local answers = {}
for i, key in ipairs(KEYS) do
  if redis.pcall('GET', key) == ARGV[1] then
    redis.call('SET', key, ARGV[2 * i], 'PX', ARGV[2 * i + 1])
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
