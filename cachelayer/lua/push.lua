-- KEYS the rows' keys   ARGV: the mark, then a row (or null) and its lifetime in ms for each
-- Answers for each key what became of it.
local own = ARGV[1]
local behind = ' ' .. own
local answers = {}
for i, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' or string.sub(value, 1, 2) ~= 'w:' then
    -- The mark was lost (flushed): whatever stands here may have been loaded before the COMMIT.
    redis.call('UNLINK', key)
    answers[i] = 'lost'
  elseif value == own or string.sub(value, -#behind) == behind then
    -- The last mark: those before it are of transactions that have ended, says the row's lock.
    redis.call('SET', key, ARGV[2 * i], 'PX', ARGV[2 * i + 1])
    answers[i] = 'pushed'
  else
    -- A later writer has locked the row since: its row is the newer one. Were its mark
    -- overwritten and it killed after its COMMIT, this row would stay.
    local rest = {}
    for mark in string.gmatch(value, '%S+') do
      if mark ~= own then
        rest[#rest + 1] = mark
      end
    end
    redis.call('SET', key, table.concat(rest, ' '))
    answers[i] = 'superseded'
  end
end
return answers
