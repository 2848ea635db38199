-- Purpose: rows that merges since a time have removed as rows of the same event, by result.
-- Runs on: every node with data and a part_log. Shape: partition, part, removed.
SELECT partition_id AS partition, part_name AS part, max(read_rows - rows) AS removed
FROM system.part_log
WHERE (database = {database:String}) AND (table = 'sharded_events') AND (event_type = 'MergeParts') AND (error = 0)
    AND (event_time >= parseDateTimeBestEffort({since:String}, 'UTC'))
    AND (partition_id IN {partitions:Array(String)})
    AND (read_rows > rows)
GROUP BY partition, part
