-- KEYS[1] the row's key. The first two bytes of its value, which tell its state;
-- none where it is absent or no string.
if redis.call('TYPE', KEYS[1])['ok'] ~= 'string' then
  return ''
end
return redis.call('GETRANGE', KEYS[1], 0, 1)
