-- KEYS: the rows' plain keys, the variants, and last the incarnation
-- ARGV: the mark, what keys begin with
-- Answers the incarnation, if it is this very server's: a mark on a server that others do not
-- read is none, and a connection may have been led to one.
--
-- A mark comes behind those that stand there; it replaces none. Were it to, a late command of
-- a writer that has gone on without its mark could hide the mark of the next one, which is in
-- flight: a reader would find a transaction that has ended, and fill the old row.
-- Marks have no TTL: under a volatile-* policy Redis evicts only keys that have one.
--
-- What holds no mark is set by one command: a thousand commands take three times as long.
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
return own_incarnation(KEYS[#KEYS])
