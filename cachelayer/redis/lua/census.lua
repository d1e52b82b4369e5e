-- ARGV: SCAN cursor, COUNT, the start of this project's keys, then the key prefixes of the cached
-- models. One step of a count: returns the next cursor, how many keys of this step hold a row, and
-- how many do not.
local prefixes = {}
for i = 4, #ARGV do
  prefixes[ARGV[i]] = true
end
-- A value of more than 44 bytes is "raw"; marks, leases and null are shorter. A GET of every row
-- would make the server's LRU treat all of them as just used.
local function is_row(key)
  local encoding = redis.call('OBJECT', 'ENCODING', key)
  return encoding == 'raw'
    or encoding == 'embstr' and string.find('{d', redis.call('GETRANGE', key, 0, 0), 1, true) ~= nil
end
-- On Redis Cluster the start begins with braces, and each key with its shard's tag in braces.
local is_cluster = string.sub(ARGV[3], 1, 2) == '{}'
local start = is_cluster and string.sub(ARGV[3], 3) or ARGV[3]
local step = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2])
local rows = 0
for _, key in ipairs(step[2]) do
  local tag = is_cluster and string.match(key, '^{%d+}') or ''
  local is_own = (tag ~= '' or not is_cluster) and string.sub(key, #tag + 1, #tag + #start) == start
  local prefix = is_own and string.match(key, '^([^:]*):', #tag + #start + 1)
  -- A tenant's schema may precede it.
  prefix = prefix and string.match(prefix, '[^/]*$')
  if prefix and prefixes[prefix] and redis.call('TYPE', key)['ok'] == 'string' and is_row(key) then
    rows = rows + 1
  end
end
return {step[1], rows, #step[2] - rows}
