-- KEYS[1] a key of nobody's. Whether Redis may be written to: full, or without the replicas or
-- the disk that it is told to have, it refuses, as it would refuse a mark.
redis.call('SET', KEYS[1], '1', 'PX', 1000)
return redis.call('UNLINK', KEYS[1])
