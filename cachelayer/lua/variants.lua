-- Variants: keys in which releases beside the owner of the plain keys have rows of their own
-- shape. `shapes.py` says what they are for. *start* is what this project's keys begin with.

-- By key prefix, what the hash *key* has: nil where there are none, as nearly always.
local function read_variants(key)
  local fields = redis.call('HGETALL', key)
  local found = nil
  for i = 1, #fields, 2 do
    local prefix, shape = string.match(fields[i], '^(.*)~(%x+)$')
    if prefix then
      found = found or {}
      found[prefix] = found[prefix] or {}
      table.insert(found[prefix], {shape = shape, live = fields[i + 1] == 'live'})
    end
  end
  return found
end

-- The variants of the row whose plain key is *key*.
local function siblings(key, start, variants)
  local colon = variants and string.find(key, ':', #start + 1, true)
  local found = {}
  if colon then
    local prefix = string.sub(key, #start + 1, colon - 1)
    for _, variant in ipairs(variants[string.match(prefix, '[^/]*$')] or {}) do
      local name = start .. prefix .. '~' .. variant.shape .. string.sub(key, colon)
      table.insert(found, {key = name, shape = variant.shape, live = variant.live})
    end
  end
  return found
end

-- The plain *keys*, and behind them all their variants.
local function with_variants(keys, start, variants)
  local found = {unpack(keys)}
  for _, key in ipairs(variants and keys or {}) do
    for _, sibling in ipairs(siblings(key, start, variants)) do
      found[#found + 1] = sibling.key
    end
  end
  return found
end

-- The answers to *command* with all *arguments*: unpack() takes no more than some thousands.
local function in_parts(command, arguments)
  local answers = {}
  for i = 1, #arguments, 4000 do
    table.insert(answers, redis.call(command, unpack(arguments, i, math.min(i + 3999, #arguments))))
  end
  return answers
end
