-- Purpose: the number of cancellations of a job. A run stops when this number grows.
-- Runs on: any node. Shape: cancellations.
SELECT count() AS cancellations
FROM {{ database }}.backfill_ledger
WHERE (job = {job:String}) AND (unit = '') AND (state = 'cancelled')
