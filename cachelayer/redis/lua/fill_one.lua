-- Stores *value* under *key* if the key still holds the *lease*. Only then may the reader fill: if
-- a write or a clear has replaced the lease, the reader's row may be older. An empty value gives
-- the lease back. Returns 1 if the key held the lease.
local function fill_one(key, lease, value, lifetime)
  if redis.pcall('GET', key) ~= lease then
    return 0
  elseif value == '' then
    return redis.call('UNLINK', key)
  end
  redis.call('SET', key, value, 'PX', lifetime)
  return 1
end
