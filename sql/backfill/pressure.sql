-- Purpose: how hard a node is pressed: the fullest month of sharded_events, its limits, merges, what waits for other shards,
--          free disk.
-- Runs on: every node that takes blocks. Shape: parts, delay_at, throw_at, merges, waiting_bytes, free, total.
SELECT
    (SELECT max(parts) FROM (
        SELECT count() AS parts FROM system.parts
        WHERE active AND (database = {database:String}) AND (table = 'sharded_events') GROUP BY partition)) AS parts,
    (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert') AS delay_at,
    (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_throw_insert') AS throw_at,
    (SELECT count() FROM system.merges WHERE (database = {database:String}) AND (table = 'sharded_events')) AS merges,
    (SELECT sum(data_compressed_bytes) FROM system.distribution_queue WHERE database = {database:String}) AS waiting_bytes,
    (SELECT min(unreserved_space) FROM system.disks WHERE type = 'Local') AS free,
    (SELECT min(total_space) FROM system.disks WHERE type = 'Local') AS total
