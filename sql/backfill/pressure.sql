-- Purpose: pressure on a node: parts in the fullest month of sharded_events and their limits,
--          merges, bytes that wait for other shards, free disk.
-- Runs on: every node that takes blocks. Shape: parts, delay_at, throw_at, merges, waiting_bytes,
--          free, total.
WITH
    (
        -- Of the disks that sharded_events may use, the one with the smallest free share.
        SELECT argMin((unreserved_space, total_space), unreserved_space / total_space)
        FROM system.disks
        WHERE name IN (
            SELECT arrayJoin(disks)
            FROM system.storage_policies
            WHERE policy_name IN (
                SELECT storage_policy
                FROM system.tables
                WHERE (database = {database:String}) AND (name = 'sharded_events')))
    ) AS fullest
SELECT
    (SELECT max(parts) FROM (
        SELECT count() AS parts FROM system.parts
        WHERE active AND (database = {database:String}) AND (table = 'sharded_events') GROUP BY partition)) AS parts,
    (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert') AS delay_at,
    (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_throw_insert') AS throw_at,
    (SELECT count() FROM system.merges WHERE (database = {database:String}) AND (table = 'sharded_events')) AS merges,
    (SELECT sum(data_compressed_bytes) FROM system.distribution_queue WHERE (database = {database:String}) AND (table = 'writable_events')) AS waiting_bytes,
    tupleElement(fullest, 1) AS free,
    tupleElement(fullest, 2) AS total
