-- KEYS the rows' keys   ARGV: the lease, then a row (or null) and its lifetime in ms for each
return fill_each(KEYS, ARGV[1], ARGV, 2)
