-- Purpose: how often somebody has wanted a job to stop; a run that sees the number grow stops.
-- Runs on: any node. Shape: cancellations.
SELECT count() AS cancellations
FROM {{ database }}.backfill_ledger
WHERE (job = {job:String}) AND (unit = '') AND (state = 'cancelled')
