-- Purpose: the ledger's records of some files: every state of every unit, every stored block,
--          and, without a unit, an undo.
-- Runs on: any node. Shape: file, unit, shard, state, slice, month, rejected.
SELECT
    file,
    unit,
    shard,
    toString(state) AS state,
    slice,
    month,
    max(rejected) AS rejected
FROM {{ database }}.backfill_ledger
WHERE (file IN {files:Array(String)}) AND (({unit:String} = '') OR (unit IN ('', {unit:String})))
GROUP BY
    file,
    unit,
    shard,
    state,
    slice,
    month
