-- KEYS the rows' plain keys   ARGV[1] the mark
-- Removes the mark and stores nothing, so that the next reader loads the row.
local values = redis.call('MGET', unpack(KEYS))
local answers, gone = {}, {}
for i, key in ipairs(KEYS) do
  local rest
  rest, answers[i] = without_own(values[i], ARGV[1])
  if not rest then
    gone[#gone + 1] = key
  elseif rest ~= values[i] then
    redis.call('SET', key, rest)
  end
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
end
return answers
