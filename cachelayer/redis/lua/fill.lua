-- KEYS the rows' keys   ARGV: the lease, then a row (or null) and its lifetime in ms for each
local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = fill_one(key, ARGV[1], ARGV[2 * i], ARGV[2 * i + 1])
end
return answers
