-- KEYS the rows' keys   ARGV[1] the mark
-- Takes the mark away and puts nothing in its place: the next reader loads the row. The marks
-- of others stay, for these transactions may be committing. Where this one was the last, it
-- becomes a mark of no transaction: else the one before it would be the last again, and its
-- late push would store the older row.
local answers = {}
for i, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  local rest, own, last, others = {}, false, false, false
  if type(value) == 'string' and string.sub(value, 1, 2) == 'w:' then
    for mark in string.gmatch(value, '%S+') do
      last = mark == ARGV[1]
      if last then
        own = true
      else
        rest[#rest + 1] = mark
        others = others or string.sub(mark, -2) ~= ':0'
      end
    end
  end
  if others then
    if last then
      rest[#rest + 1] = string.gsub(ARGV[1], ':%d+$', ':0')
    end
    if own then
      redis.call('SET', key, table.concat(rest, ' '))
    end
    answers[i] = 'superseded'
  else
    -- Where the mark was lost, what stands here may have been loaded before the COMMIT.
    redis.call('UNLINK', key)
    answers[i] = own and 'invalidated' or 'lost'
  end
end
return answers
