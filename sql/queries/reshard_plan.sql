-- Purpose: rows and uncompressed bytes that a change of the weights moves, from each shard to each.
-- Reads:   events; each shard scans its own rows.
-- Writes:  none.
-- Runs on: every node.
--          SELECT * FROM reshard_plan(old_weights = [1, 3], new_weights = [1, 3, 2],
--              since = '2026-01-01', until = '2027-01-01')
--
-- Blocks are ten times as large as usual, because each one waits for the function's process.
CREATE VIEW {{ database }}.reshard_plan
AS SELECT
    tupleElement(shardMove(distinct_id, {old_weights:Array(UInt32)}, {new_weights:Array(UInt32)}), 1) AS from_shard,
    tupleElement(shardMove(distinct_id, {old_weights:Array(UInt32)}, {new_weights:Array(UInt32)}), 2) AS to_shard,
    from_shard != to_shard AS moves,
    count() AS rows,
    sum(byteSize(uuid, event, properties, timestamp, team_id, distinct_id, elements_hash, created_at, _timestamp, _offset, elements_chain)) AS bytes
FROM {{ database }}.events
WHERE (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
GROUP BY
    from_shard,
    to_shard
ORDER BY
    from_shard,
    to_shard
SETTINGS max_block_size = 262144, preferred_block_size_bytes = 10000000
