-- Purpose: the blocks of a job that its shards have acknowledged.
-- Runs on: any node. Shape: shard, slice, month, unit, rows, checksum.
SELECT
    shard,
    slice,
    month,
    any(unit) AS unit,
    any(rows) AS rows,
    any(checksum) AS checksum
FROM {{ database }}.backfill_ledger
WHERE (job = {job:String}) AND (state = 'stored')
GROUP BY shard, slice, month
ORDER BY shard, month, slice
