-- KEYS: the rows' plain keys, the variants, and last the incarnation
-- ARGV: the mark, what keys begin with, then for each a row (or null), its lifetime in ms, and
-- the pusher's shape ('': it has the plain key). Answers for each what became of it.
local own, start = ARGV[1], ARGV[2]
local behind = ' ' .. own

local function release(key, value)
  local rest, answer = without_own(value, own)
  if not rest then
    redis.call('UNLINK', key)
  elseif rest ~= value then
    redis.call('SET', key, rest)
  end
  return answer
end

local variants = read_variants(KEYS[#KEYS - 1])
-- Not while a reconcile sweeps: it may have swept the variant, and come to the plain key later.
local trusted = string.find(redis.call('GET', KEYS[#KEYS]) or '', ' trusted ', 1, true)

-- Where the last mark of the plain key is this one: those before it are of transactions that
-- have ended, says the row's lock, and nobody has marked the row since, says the key that
-- everybody marks. Else a later writer's row is the newer one. Were its mark overwritten and it
-- killed after its COMMIT, this row would stay.
local function push(key, value, row, lifetime, shape)
  local is_last = value == own or (value and string.sub(value, -#behind) == behind)
  if is_last and shape == '' then
    redis.call('SET', key, row, 'PX', lifetime)
    return 'pushed'
  end
  local variant = is_last and trusted and variants_of(key, start, variants)[shape]
  if variant and variant.state == 'live' then
    redis.call('SET', variant.key, row, 'PX', lifetime)
    release(key, value)
    return 'pushed'
  end
  -- Also where the mark was lost (flushed): what stands there may be of before the COMMIT.
  return release(key, value)
end

local answers = {}
for i = 1, #KEYS - 2 do
  local value = redis.pcall('GET', KEYS[i])
  value = type(value) == 'string' and value or nil
  answers[i] = push(KEYS[i], value, ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2])
end
return answers
