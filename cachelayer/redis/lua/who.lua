-- Which server is this? As INFO replication; but while a node hands its slots over to its replica,
-- it holds scripts back and goes on answering INFO and MGET: 1. The primary holds writes back. 2. A
-- writer cannot mark its row there, logs it and commits. 3. A reader finds the old row.
return redis.call('INFO', 'replication')
