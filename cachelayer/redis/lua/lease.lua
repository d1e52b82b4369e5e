-- KEYS: the keys in which this release has the rows; where these are variants, their plain keys;
-- the hash of variants; and last the incarnation
-- ARGV: the lease, its lifetime in ms, the epoch, the variant ('': these are the plain keys), how
-- many rows; then for each what its key must hold ('': nothing), and the same of the plain keys.
-- Answers for each: 1 it took, 0 the key holds something else, 2 the plain key is marked.
--
-- No lease unless the incarnation is trusted: after a FLUSHALL the marks of transactions in
-- flight are gone, and a fill could store the row from before their COMMIT. Nor where it has
-- another epoch than Postgres: writers may be marking another server.
local incarnation = redis.call('GET', KEYS[#KEYS])
local trusted = ' trusted ' .. ARGV[3]
if not incarnation or string.sub(incarnation, -#trusted) ~= trusted then
  return -1
end
local variant, count = ARGV[4], tonumber(ARGV[5])
if variant ~= '' then
  -- From here on every writer marks it; those before have marked the plain key.
  redis.call('HSET', KEYS[#KEYS - 1], variant, 'live')
end
-- Of a document that is not valid, its stamps are wanted: no two are made under the same.
local function holds(value, wanted)
  return value == wanted
    or (string.sub(wanted, 1, 2) == 'd:' and string.sub(value, 1, #wanted + 1) == wanted .. '\n')
end

local answers = {}
for i = 1, count do
  local wanted = ARGV[5 + i]
  local value = redis.pcall('GET', KEYS[i])
  local plain = variant ~= '' and redis.call('GET', KEYS[count + i])
  local is_marked = plain and string.sub(plain, 1, 2) == 'w:'
  if is_marked and plain ~= ARGV[5 + count + i] then
    answers[i] = 2
  -- What was found, and nothing else: another mark may have come since.
  elseif (not value and wanted == '') or (value and holds(value, wanted)) then
    if is_marked then
      redis.call('UNLINK', KEYS[count + i])
    end
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
