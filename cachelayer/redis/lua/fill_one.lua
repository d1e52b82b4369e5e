-- Stores *value* under *key* if that still holds the *lease*: only the reader whose lease still
-- stands may fill. A write or a clear in the meantime has replaced it, and what the reader loaded
-- may be older than that. An empty value gives the lease back. Answers 1 where it was its own.
local function fill_one(key, lease, value, lifetime)
  if redis.pcall('GET', key) ~= lease then
    return 0
  elseif value == '' then
    return redis.call('UNLINK', key)
  end
  redis.call('SET', key, value, 'PX', lifetime)
  return 1
end
