-- What *value* reads as. A document reads as its bytes if every stamp under which it was made is
-- unchanged, else as 'd:' and these stamps. *start* is the start of keys.
local function checked(value, start)
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
