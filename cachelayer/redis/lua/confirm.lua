-- KEYS: pages, and last the incarnation
-- ARGV: the start of keys, the lease, then a page and its lifetime in ms for each
-- Fills, and returns what each key then reads as, or false if it was not filled; then the
-- incarnation, if it is this server's. One script, so that no answer is from before the fill.
local answers = fill_each({unpack(KEYS, 1, #KEYS - 1)}, ARGV[2], ARGV, 3)
for i, took in ipairs(answers) do
  answers[i] = took == 1 and checked(redis.call('GET', KEYS[i]), ARGV[1])
end
answers[#KEYS] = own_incarnation(KEYS[#KEYS])
return answers
