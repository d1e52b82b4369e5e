-- KEYS: stamps; on Redis Cluster, also the variants and last the incarnation
-- ARGV: a new value, its lifetime in ms, what the incarnation must end with ('': not asked), then for
-- each stamp the marks that may be replaced
-- Returns what each stamp now holds: its value, a new value, or marks of writers at work; or -1.
--
-- One Redis is not asked whether it is trusted, because nothing is filled without a lease, and the
-- lease checks it. On Redis Cluster, the lease is on another node, so a stamp would be made in vain.
local trusted = ARGV[3]
if trusted ~= '' and string.sub(own_incarnation(KEYS[#KEYS]), -#trusted) ~= trusted then
  return -1
end
local answers = {}
for i = 1, #ARGV - 3 do
  local key = KEYS[i]
  local value = redis.pcall('GET', key)
  value = type(value) == 'string' and value or nil
  local is_mark = value and string.sub(value, 1, 2) == 'w:'
  if not value or (is_mark and value == ARGV[3 + i]) then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    value = ARGV[1]
  elseif not is_mark then
    redis.call('PEXPIRE', key, ARGV[2])
  end
  answers[i] = value
end
return answers
