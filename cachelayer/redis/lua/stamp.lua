-- KEYS: stamps
-- ARGV: a new value, its lifetime in ms, then for each the marks that may be replaced
-- Returns what each stamp now holds: its value, a new value, or marks of writers at work.
--
-- Trust is not checked here, because nothing is filled without a lease, and the lease checks it.
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
