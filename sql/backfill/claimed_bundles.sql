-- Purpose: those of some bundles that a run has claimed in the last hour and not given up: it may
--          be about to begin them.
-- Runs on: any node. Shape: file.
SELECT DISTINCT file
FROM
(
    SELECT file
    FROM {{ database }}.backfill_ledger
    WHERE (file IN {files:Array(String)}) AND (unit = '') AND (toString(state) IN ('begun', 'done'))
    GROUP BY file, checksum
    HAVING (countIf(toString(state) = 'done') = 0) AND (min(at) > now64(3) - toIntervalHour(1))
)
