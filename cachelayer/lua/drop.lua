-- KEYS[1] the row's key. Deletes a row, null or lease, and a mark that is over;
-- a live mark stays, for its transaction may be committing. What is no string
-- is somebody else's.
if redis.call('TYPE', KEYS[1])['ok'] ~= 'string' then
  return 0
end
if redis.call('GETRANGE', KEYS[1], 0, 1) == 'w:' then
  local over = string.match(redis.call('GET', KEYS[1]), ':(%d+)$')
  local now = redis.call('TIME')
  if not over or now[1] * 1000 + math.floor(now[2] / 1000) <= tonumber(over) then
    return 0
  end
end
return redis.call('UNLINK', KEYS[1])
