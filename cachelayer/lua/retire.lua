-- KEYS: keys of one variant, the hash of variants, and last the incarnation
-- ARGV: the variant, what it must be (closing and a token), what must follow the server's name in
-- the incarnation, 1 where these were the last keys
-- Takes away what this variant's keys hold; after the last, the variant. Answers -1, and takes nothing away, where somebody uses it again, or on another server.
local incarnation = redis.call('GET', KEYS[#KEYS]) or ''
local info = redis.call('INFO', 'replication')
-- A replica says its primary's.
local term = string.find(info, 'role:master', 1, true) and string.match(info, 'master_replid:(%x+)')
local wanted = term and ':' .. term .. ARGV[3] or ''
if wanted == '' or string.sub(incarnation, -#wanted) ~= wanted
  or redis.call('HGET', KEYS[#KEYS - 1], ARGV[1]) ~= ARGV[2] then
  return -1
end
for i = 1, #KEYS - 2 do
  redis.call('UNLINK', KEYS[i])
end
if ARGV[4] == '1' then
  redis.call('HDEL', KEYS[#KEYS - 1], ARGV[1])
end
return #KEYS - 2
