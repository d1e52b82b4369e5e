-- KEYS: the rows' plain keys, the variants, and last the incarnation
-- ARGV: the mark, the start of keys, and on Redis Cluster 1
-- Returns the incarnation, if it is this server's. A connection may have been led to a server that
-- others do not read, and a mark there has no effect.
--
-- A mark is added behind the existing marks and replaces none. If it did, the late command of a
-- writer that has gone on without its mark could hide the mark of the next writer, which is in
-- flight. Then a reader would find a transaction that has ended, and fill the old row.
-- Marks have no TTL, because under a volatile-* policy Redis evicts only keys with a TTL.
--
-- All keys without a mark are set by one command, because a thousand commands take three times as
-- long.
local rows = {unpack(KEYS, 1, #KEYS - 2)}
local empty = redis.call('EXISTS', unpack(rows)) == 0
local unmarked = {}
for _, key in ipairs(rows) do
  local head = not empty and redis.pcall('GETRANGE', key, 0, 1)
  if head == 'w:' then
    redis.call('APPEND', key, ' ' .. ARGV[1])
  else
    unmarked[#unmarked + 1] = key
    unmarked[#unmarked + 1] = ARGV[1]
  end
end
if #unmarked > 0 then
  redis.call('MSET', unpack(unmarked))
end
delete_variants(rows, ARGV[2], KEYS[#KEYS - 1])
local incarnation = own_incarnation(KEYS[#KEYS])
if incarnation == '' and ARGV[3] == '1' then
  -- This slot was on another node when it was trusted. If it went back there, the incarnation would
  -- be that node's own again, while this mark did not count.
  redis.call('UNLINK', KEYS[#KEYS])
end
return incarnation
