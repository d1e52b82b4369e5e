-- Variants: keys in which releases beside the owner of the plain keys have rows of their own
-- shape; `variants.py` says what they are for. A variant holds a row or a lease, never a mark: those
-- of the plain key stand for it too. *start* is what this project's keys begin with.

-- What the hash *registry* has, by key prefix; nil where there are none, as nearly always.
local function read_variants(registry)
  local fields = redis.call('HGETALL', registry)
  local found = nil
  for i = 1, #fields, 2 do
    local prefix, shape = string.match(fields[i], '^(.*)~(%x+)$')
    if prefix then
      found = found or {}
      found[prefix] = found[prefix] or {}
      found[prefix][shape] = fields[i + 1]
    end
  end
  return found
end

-- The variants of the row whose plain key is *key*: by shape, the key, and its entry's state.
local function variants_of(key, start, variants)
  local found = {}
  local colon = variants and string.find(key, ':', #start + 1, true)
  if colon then
    local prefix = string.sub(key, #start + 1, colon - 1)
    for shape, state in pairs(variants[string.match(prefix, '[^/]*$')] or {}) do
      local name = start .. prefix .. '~' .. shape .. string.sub(key, colon)
      found[shape] = {key = name, state = state}
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

-- Deletes all variants of the rows whose plain keys are *keys*; answers how many there were.
local function delete_variants(keys, start, registry)
  local variants = read_variants(registry)
  local found, deleted = {}, 0
  for _, key in ipairs(variants and keys or {}) do
    for _, variant in pairs(variants_of(key, start, variants)) do
      found[#found + 1] = variant.key
    end
  end
  for _, count in ipairs(in_parts('UNLINK', found)) do
    deleted = deleted + count
  end
  return deleted
end
