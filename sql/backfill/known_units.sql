-- Purpose: what the ledger has of a job's units: every state, and every block stored.
-- Runs on: any node. Shape: unit, shard, state, slice, month, rows, checksum, rejected.
SELECT
    unit,
    shard,
    toString(state) AS state,
    slice,
    month,
    any(rows) AS rows,
    any(checksum) AS checksum,
    max(rejected) AS rejected
FROM {{ database }}.backfill_ledger
WHERE unit IN {units:Array(String)}
GROUP BY unit, shard, state, slice, month
