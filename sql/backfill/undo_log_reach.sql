-- Purpose: whether a node's part_log has every merge of sharded_events since a time, and no
--          mutation has deleted rows since. A server that was killed may have lost its last
--          entries.
-- Runs on: every node with data. Shape: has_log, is_up_since, deletes.
SELECT
    (SELECT count() FROM system.tables WHERE (database = 'system') AND (name = 'part_log')) AS has_log,
    toBool(now('UTC') - toIntervalSecond(uptime()) <= parseDateTimeBestEffort({since:String}, 'UTC')) AS is_up_since,
    (
        SELECT count()
        FROM system.mutations
        WHERE (database = {database:String}) AND (table = 'sharded_events')
            AND (create_time >= parseDateTimeBestEffort({since:String}, 'UTC'))
            AND (match(command, 'DELETE|_row_exists'))
    ) AS deletes
