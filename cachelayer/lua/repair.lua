-- KEYS the rows' keys   ARGV[1] the repair's own mark, of no transaction
-- A row, null or lease is deleted. A mark may belong to a writer that committed before the
-- write that was logged: the repair's comes behind it, so that a late push stores nothing.
-- Were it deleted, the mark of a transaction in flight might be.
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key)['ok']
  if kind == 'string' then
    if redis.call('GETRANGE', key, 0, 1) ~= 'w:' then
      redis.call('UNLINK', key)
    elseif redis.call('GETRANGE', key, -2, -1) ~= ':0' then
      redis.call('APPEND', key, ' ' .. ARGV[1])
    end
  end
end
return #KEYS
