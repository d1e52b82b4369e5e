-- KEYS: the rows' plain keys, the variants, and last the incarnation
-- ARGV: the mark, the start of keys, then for each a row (or null), its lifetime in ms, and the
-- shape of the pushing release ('': it owns the plain keys). Returns the result for each.
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
-- Do not push into a variant during a sweep, which may have passed it and not the plain key yet.
local trusted = string.find(redis.call('GET', KEYS[#KEYS]) or '', ' trusted ', 1, true)

-- Push only if the last mark of the plain key is this one. Then the transactions of the marks
-- before it have ended, because this writer had the row's lock. And no writer has marked the row
-- since, because every writer marks the plain key. Otherwise a later writer has the newer row. If
-- its mark were overwritten and it were killed after its COMMIT, this old row would stay.
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
  -- Also if the mark was lost (flushed): the value there may be from before the COMMIT.
  return release(key, value)
end

local answers = {}
for i = 1, #KEYS - 2 do
  local value = redis.pcall('GET', KEYS[i])
  value = type(value) == 'string' and value or nil
  answers[i] = push(KEYS[i], value, ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2])
end
return answers
