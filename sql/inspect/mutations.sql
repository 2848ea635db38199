-- Purpose: mutations of sharded_events that are not finished, the oldest first, and rows that
--          mutations in progress have read.
-- Runs on: one replica of each shard. Shape: id, command, parts, failure, rows_read.
SELECT
    mutation_id AS id,
    arrayStringConcat(groupArray(command), ', ') AS command,
    max(parts_to_do) AS parts,
    toValidUTF8(substring(any(latest_fail_reason), 1, 2000)) AS failure,
    (
        SELECT sum(rows_read)
        FROM system.merges
        WHERE is_mutation AND (database = {database:String}) AND (table = 'sharded_events')
    ) AS rows_read
FROM system.mutations
WHERE (database = {database:String}) AND (table = 'sharded_events') AND NOT is_done AND NOT is_killed
GROUP BY id
ORDER BY min(create_time), id
