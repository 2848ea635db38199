-- Purpose: mutations of sharded_events that are not finished, the oldest first, with the parts that
--          the server works on, its reasons to postpone others, and rows that mutations in progress
--          have read.
-- Runs on: one replica of each shard. Shape: id, command, table_name, parts, running, postponed,
--          failure, rows_read.
SELECT
    mutation_id AS id,
    arrayStringConcat(groupArray(command), ', ') AS command,
    concat({database:String}, '.sharded_events') AS table_name,
    max(parts_to_do) AS parts,
    max(length(parts_in_progress_names)) AS running,
    arrayStringConcat(arraySort(arrayDistinct(mapValues(any(parts_postpone_reasons)))), ', ') AS postponed,
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
