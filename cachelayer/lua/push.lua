-- KEYS the rows' plain keys, and last the variants   ARGV: the mark, what keys begin with, then
-- for each a row (or null), its lifetime in ms, and the pusher's shape ('': it has the plain key)
-- Answers for each row what became of it.
local own, start = ARGV[1], ARGV[2]
local behind = ' ' .. own

local function is_last(value)
  return value == own or (value and string.sub(value, -#behind) == behind)
end

local function release(key, value)
  local rest, answer = without_own(value, own)
  if not rest then
    redis.call('UNLINK', key)
  elseif rest ~= value then
    redis.call('SET', key, rest)
  end
  return answer
end

local function push(key, value, row, lifetime)
  if type(value) ~= 'string' or string.sub(value, 1, 2) ~= 'w:' then
    -- The mark was lost (flushed): whatever stands here may have been loaded before the COMMIT.
    redis.call('UNLINK', key)
    return 'lost'
  elseif is_last(value) then
    -- The last mark: those before it are of transactions that have ended, says the row's lock.
    redis.call('SET', key, row, 'PX', lifetime)
    return 'pushed'
  end
  -- A later writer has locked the row since: its row is the newer one. Were its mark
  -- overwritten and it killed after its COMMIT, this row would stay.
  return release(key, value)
end

local variants = read_variants(KEYS[#KEYS])
local answers = {}
for i = 1, #KEYS - 1 do
  local row, lifetime, shape = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local value = redis.pcall('GET', KEYS[i])
  local is_newest = type(value) == 'string' and is_last(value)
  if shape == '' then
    answers[i] = push(KEYS[i], value, row, lifetime)
  else
    answers[i] = release(KEYS[i], type(value) == 'string' and value or nil)
  end
  for _, sibling in ipairs(siblings(KEYS[i], start, variants)) do
    local held = redis.call('GET', sibling.key)
    -- A variant that was taken away and entered again lacks the marks of who came in between.
    -- The plain key has them all: only who is the last there has the newest row.
    if sibling.shape == shape and sibling.live and is_newest then
      answers[i] = push(sibling.key, held, row, lifetime)
    else
      release(sibling.key, held)
    end
  end
end
return answers
