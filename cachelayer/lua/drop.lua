-- KEYS[1] the row's key. Deletes a row, null or lease; a mark stays, for its
-- transaction may be committing. What is no string is somebody else's.
if redis.call('TYPE', KEYS[1])['ok'] ~= 'string' then
  return 0
end
if redis.call('GETRANGE', KEYS[1], 0, 1) == 'w:' then
  return 0
end
return redis.call('UNLINK', KEYS[1])
