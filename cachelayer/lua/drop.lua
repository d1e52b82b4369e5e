-- KEYS[1] the row's key. Deletes a row, null or lease; a mark stays, for its
-- transaction may be committing.
local value = redis.call('GETRANGE', KEYS[1], 0, 1)
if value == '' or value == 'w:' then
  return 0
end
return redis.call('UNLINK', KEYS[1])
