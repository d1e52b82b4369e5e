-- KEYS[1] the totals   KEYS[2] the number of the process's last flush   KEYS[3…] slices of time
-- ARGV: this flush's number, the lifetime of KEYS[2] and of a slice in seconds, then
-- the position of a slice in KEYS, outcome, count, …
-- A flush without an answer is sent again; the first one that arrives counts.
if tonumber(redis.call('GET', KEYS[2]) or 0) >= tonumber(ARGV[1]) then
  return 0
end
for i = 4, #ARGV, 3 do
  redis.call('HINCRBY', KEYS[1], ARGV[i + 1], ARGV[i + 2])
  redis.call('HINCRBY', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2])
end
for i = 3, #KEYS do
  redis.call('EXPIRE', KEYS[i], ARGV[3])
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
