-- Purpose: the partitions of an undo that were judged before the first row was deleted, with the
--          rows of the job and the other rows of that time.
-- Runs on: any node. Shape: shard, partition, rows, others.
SELECT
    shard,
    toString(month) AS partition,
    any(ledger.rows) AS rows,
    any(ledger.checksum) AS others
FROM {{ database }}.backfill_ledger AS ledger
WHERE (file = '') AND (unit = {undo:String}) AND (toString(state) = 'undoing')
GROUP BY shard, partition
