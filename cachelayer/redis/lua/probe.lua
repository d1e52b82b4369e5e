-- KEYS[1] an unused key. Tests whether Redis accepts writes. If it is full, or lacks the replicas
-- or the disk that it is configured to have, it refuses this, as it would refuse a mark.
redis.call('SET', KEYS[1], '1', 'PX', 1000)
return redis.call('UNLINK', KEYS[1])
