-- Purpose: whether the entries of a node's part_log begin before a time.
-- Runs on: every node with data and a part_log. Shape: entries.
SELECT count() AS entries
FROM system.part_log
WHERE event_time <= parseDateTimeBestEffort({since:String}, 'UTC')
