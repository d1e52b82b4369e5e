-- Variants: keys for rows of releases that do not own the plain keys; see `variants.py`. A variant
-- holds a row or a lease, never a mark, because the marks of the plain key count for it, too.
-- *start* is the start of this project's keys.

-- The variants in the hash *registry*, by key prefix; nil if there are none, as nearly always.
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

-- The variants of the row with the plain key *key*: by shape, the key and the state of its entry.
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

-- The answers to *command* with all *arguments*, in parts, because unpack() takes only thousands.
local function in_parts(command, arguments)
  local answers = {}
  for i = 1, #arguments, 4000 do
    table.insert(answers, redis.call(command, unpack(arguments, i, math.min(i + 3999, #arguments))))
  end
  return answers
end

-- Deletes all variants of the rows with the plain keys *keys*; returns how many there were.
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
