-- Stores a value under each of *keys* that still holds the *lease*. Only then may the reader fill:
-- if a write or a clear has replaced the lease, the reader's row may be older. An empty value gives
-- the lease back. In *values*, those of the first key begin at *first*: a value, and its lifetime in
-- ms. Returns for each 1 if the key held the lease, else 0.
local function fill_each(keys, lease, values, first)
  local answers = {}
  -- One command for all keys. For a key that does not hold a string, it returns no value.
  for i, held in ipairs(redis.call('MGET', unpack(keys))) do
    local value = values[first + 2 * i - 2]
    if held ~= lease then
      answers[i] = 0
    elseif value == '' then
      answers[i] = redis.call('UNLINK', keys[i])
    else
      redis.call('SET', keys[i], value, 'PX', values[first + 2 * i - 1])
      answers[i] = 1
    end
  end
  return answers
end
