-- KEYS[1] the totals   KEYS[2] the number of the process's last flush
-- ARGV: this flush's number, the lifetime of KEYS[2] in seconds, then outcome, count, …
-- A flush whose answer was lost is sent again; whichever arrives first counts.
if tonumber(redis.call('GET', KEYS[2]) or 0) >= tonumber(ARGV[1]) then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
