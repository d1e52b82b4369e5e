-- KEYS: documents, and last the incarnation   ARGV: what keys begin with, 1 to answer the incarnation
-- Answers what each key holds: of a document the bytes, where every stamp is there under which it
-- was made, the same; else 'd:' and these stamps. Then the incarnation, as look.lua does.
local start = ARGV[1]

local function checked(value)
  if type(value) ~= 'string' or string.sub(value, 1, 2) ~= 'd:' then
    return value
  end
  local line = string.find(value, '\n', 3, true)
  local head = string.sub(value, 1, line - 1)
  local keys, wanted = {}, {}
  for key, stamp in pairs(cjson.decode(string.sub(head, 3))) do
    keys[#keys + 1] = start .. key
    wanted[#wanted + 1] = stamp
  end
  for from = 1, #keys, 4000 do
    local found = redis.call('MGET', unpack(keys, from, math.min(from + 3999, #keys)))
    for i, stamp in ipairs(found) do
      if stamp ~= wanted[from + i - 1] then
        return head
      end
    end
  end
  return string.sub(value, line + 1)
end

local values = redis.call('MGET', unpack(KEYS, 1, #KEYS - 1))
for i, value in ipairs(values) do
  values[i] = checked(value)
end
if ARGV[2] == '1' then
  local info = redis.call('INFO', 'replication')
  -- A replica says its primary's.
  local term = string.find(info, 'role:master', 1, true)
    and string.match(info, 'master_replid:(%x+)')
  local incarnation = redis.call('GET', KEYS[#KEYS]) or ''
  local is_own = term and string.find(incarnation, ':' .. term .. ' ', 1, true)
  values[#values + 1] = is_own and incarnation or ''
end
return values
