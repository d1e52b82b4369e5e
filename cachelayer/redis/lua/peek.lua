-- KEYS[1] the row's key. Returns the first two bytes of its value, which tell its state (a document
-- counts as a row); '' if it is absent or not a string.
if redis.call('TYPE', KEYS[1])['ok'] ~= 'string' then
  return ''
end
local head = redis.call('GETRANGE', KEYS[1], 0, 1)
return head == 'd:' and '{' or head
