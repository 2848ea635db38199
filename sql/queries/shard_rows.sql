-- Purpose: rows on each shard against the shares that the weights give.
-- Reads:   events.
-- Writes:  none.
-- Runs on: every node.
--          SELECT * FROM shard_rows(weights = [1, 3], since = '2026-01-01', until = '2027-01-01')
--
-- Shares that differ by more than chance mean that weights were changed, or that a few distinct ids
-- have most events.
CREATE VIEW {{ database }}.shard_rows
AS SELECT
    shard,
    rows,
    rows / sum(rows) OVER () AS share,
    arrayElement({weights:Array(UInt32)}, shard) / arraySum({weights:Array(UInt32)}) AS expected_share
FROM
(
    SELECT
        _shard_num AS shard,
        count() AS rows
    FROM {{ database }}.events
    WHERE (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
    GROUP BY shard
)
ORDER BY shard
