-- KEYS: stamps   ARGV: a new value, its lifetime in ms, then for each the marks that may be replaced
-- Answers what each holds from now on: its value, a new one, or marks of writers at work.
--
-- No trust is asked for: nothing is filled without the lease, and that asks for it.
local answers = {}
for i, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  value = type(value) == 'string' and value or nil
  local is_mark = value and string.sub(value, 1, 2) == 'w:'
  if not value or (is_mark and value == ARGV[2 + i]) then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    value = ARGV[1]
  elseif not is_mark then
    redis.call('PEXPIRE', key, ARGV[2])
  end
  answers[i] = value
end
return answers
