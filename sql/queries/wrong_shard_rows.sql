-- Purpose: rows on another shard than shardOf returns. Queries that filter by shard miss them.
-- Reads:   events; each shard scans its own rows.
-- Writes:  none.
-- Runs on: every node.
--          SELECT * FROM wrong_shard_rows(
--              weights = [1, 3], since = '2026-01-01', until = '2027-01-01')
--
-- Blocks are ten times as large as usual, because each one waits for the function's process, and
-- ids are short.
--
-- No row is the expected result. Rows come from inserts that bypass writable_events, or from
-- changed weights.
CREATE VIEW {{ database }}.wrong_shard_rows
AS SELECT
    _shard_num AS shard,
    shardOf(distinct_id, {weights:Array(UInt32)}) AS belongs_to,
    count() AS rows,
    any(distinct_id) AS for_example
FROM {{ database }}.events
WHERE (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
    AND (shardOf(distinct_id, {weights:Array(UInt32)}) != _shard_num)
GROUP BY
    shard,
    belongs_to
ORDER BY
    shard,
    belongs_to
SETTINGS max_block_size = 262144, preferred_block_size_bytes = 10000000
