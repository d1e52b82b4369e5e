-- KEYS the rows' plain keys, and last the variants   ARGV: the mark, what keys begin with
-- Takes the mark away and puts nothing in its place: the next reader loads the row.
local rows = {unpack(KEYS, 1, #KEYS - 1)}
local keys = with_variants(rows, ARGV[2], read_variants(KEYS[#KEYS]))
local answers, gone = {}, {}
for _, values in ipairs(in_parts('MGET', keys)) do
  for i = 1, #values do
    local key, rest = keys[#answers + 1], nil
    rest, answers[#answers + 1] = without_own(values[i], ARGV[1])
    if not rest then
      gone[#gone + 1] = key
    elseif rest ~= values[i] then
      redis.call('SET', key, rest)
    end
  end
end
in_parts('UNLINK', gone)
return {unpack(answers, 1, #rows)}
