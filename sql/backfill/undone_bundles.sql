-- Purpose: how many bundles are undone. Grows with each undo that has finished.
-- Runs on: any node. Shape: bundles.
SELECT uniqExact(file) AS bundles
FROM {{ database }}.backfill_ledger
WHERE (unit = '') AND (file != '') AND (toString(state) = 'undone')
