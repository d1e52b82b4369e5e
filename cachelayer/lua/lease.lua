-- KEYS: the rows' keys, and last the incarnation   ARGV: the lease, its lifetime in ms, the
-- epoch, then for each key what it must hold ('': nothing). Answers for each whether it took.
--
-- No lease unless the incarnation is trusted: after a FLUSHALL the marks of transactions in
-- flight are gone, and a fill could store the row from before their COMMIT. Nor where it has
-- another epoch than Postgres: writers may be marking another server.
local incarnation = redis.call('GET', KEYS[#KEYS])
local trusted = ' trusted ' .. ARGV[3]
if not incarnation or string.sub(incarnation, -#trusted) ~= trusted then
  return -1
end
local answers = {}
for i = 1, #KEYS - 1 do
  local wanted = ARGV[3 + i]
  local value = redis.pcall('GET', KEYS[i])
  -- What was found, and nothing else: another mark may have come since.
  if (not value and wanted == '') or (value and value == wanted) then
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
