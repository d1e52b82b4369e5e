-- KEYS the rows' keys   ARGV[1] the mark
-- Takes the mark away and puts nothing in its place: the next reader loads the row. The marks
-- of others stay, for these transactions may be committing.
local answers = {}
for i, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  local rest = {}
  local own = false
  if type(value) == 'string' and string.sub(value, 1, 2) == 'w:' then
    for mark in string.gmatch(value, '%S+') do
      if mark == ARGV[1] then
        own = true
      else
        rest[#rest + 1] = mark
      end
    end
  end
  if #rest > 0 then
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
