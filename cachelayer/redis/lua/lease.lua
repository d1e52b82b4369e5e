-- KEYS: the keys that hold this release's rows; if these are variants, their plain keys; the hash
-- of variants; and last the incarnation
-- ARGV: the lease, its lifetime in ms, the epoch, the variant ('': these are the plain keys), the
-- number of rows; then for each the value that its key must hold ('': none), and the same for the
-- plain keys.
-- Returns for each: 1 leased, 0 the key holds something else, 2 the plain key is marked.
--
-- There is no lease unless the incarnation is trusted: after a FLUSHALL the marks of transactions
-- in flight are gone, and a fill could store the row from before their COMMIT. Nor is there one if
-- its epoch differs from that of Postgres: writers may be marking another server.
local incarnation = own_incarnation(KEYS[#KEYS])
local trusted = ' trusted ' .. ARGV[3]
if string.sub(incarnation, -#trusted) ~= trusted then
  return -1
end
local variant, count = ARGV[4], tonumber(ARGV[5])
if variant ~= '' then
  -- From here on every writer deletes the variant; earlier writers have marked the plain key.
  redis.call('HSET', KEYS[#KEYS - 1], variant, 'live')
end
-- For an invalid document, compare the stamps: no two documents of a key have the same stamps.
local function holds(value, wanted)
  return value == wanted
    or (string.sub(wanted, 1, 2) == 'd:' and string.sub(value, 1, #wanted + 1) == wanted .. '\n')
end

-- Only exactly what was found, because another mark may have been set since.
local function lease(key, wanted)
  if wanted == '' then
    return redis.call('SET', key, ARGV[1], 'PX', ARGV[2], 'NX') and 1 or 0
  end
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' or not holds(value, wanted) then
    return 0
  end
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
  return 1
end

local answers = {}
for i = 1, count do
  local plain = variant ~= '' and redis.call('GET', KEYS[count + i])
  local is_marked = plain and string.sub(plain, 1, 2) == 'w:'
  if is_marked and plain ~= ARGV[5 + count + i] then
    answers[i] = 2
  else
    answers[i] = lease(KEYS[i], ARGV[5 + i])
    if is_marked and answers[i] == 1 then
      redis.call('UNLINK', KEYS[count + i])
    end
  end
end
return answers
