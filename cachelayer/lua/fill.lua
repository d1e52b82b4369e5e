-- KEYS the rows' keys   ARGV: the lease, then a row (or null) and its lifetime in ms for each
-- An empty row gives the lease back.
-- Only the reader whose lease still stands may fill: a write or a clear in the meantime has
-- replaced it, and what the reader loaded may be older than that.
local answers = {}
for i, key in ipairs(KEYS) do
  if redis.pcall('GET', key) ~= ARGV[1] then
    answers[i] = 0
  elseif ARGV[2 * i] == '' then
    answers[i] = redis.call('UNLINK', key)
  else
    redis.call('SET', key, ARGV[2 * i], 'PX', ARGV[2 * i + 1])
    answers[i] = 1
  end
end
return answers
