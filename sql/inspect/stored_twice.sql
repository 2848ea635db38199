-- Purpose: rows of recent messages that are stored more than once. A message sent twice has two
--          offsets and counts as two.
-- Runs on: one node, for all shards. Shape: twice, one line.
SELECT count() - uniqExact(uuid, _offset, _timestamp) AS twice
FROM {{ database }}.events
WHERE _timestamp >= toDateTime({since:UInt32})
