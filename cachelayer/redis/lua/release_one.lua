-- Returns the marks in *value* without the mark *own*, or nil if the key can be deleted; and the
-- result for the key. Marks of other writers stay, because their transactions may be committing.
-- If *own* was the last mark, it becomes a mark of no transaction. Otherwise the mark before it
-- would be the last again, and its writer's late push would store the older row.
local function without_own(value, own)
  if value == own then
    return nil, 'invalidated'
  end
  local rest, found, last, others = {}, false, false, false
  if value and string.sub(value, 1, 2) == 'w:' then
    for mark in string.gmatch(value, '%S+') do
      last = mark == own
      if last then
        found = true
      else
        rest[#rest + 1] = mark
        others = others or string.sub(mark, -2) ~= ':0'
      end
    end
  end
  if not others then
    -- If the mark was lost, the value here may have been loaded before the COMMIT.
    return nil, found and 'invalidated' or 'lost'
  end
  if last then
    rest[#rest + 1] = string.gsub(own, ':%d+$', ':0')
  end
  return found and table.concat(rest, ' ') or value, 'superseded'
end
