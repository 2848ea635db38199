-- Purpose: the times since the last step of a load of these files, since their undo began and since
--          a load of them was cancelled, in milliseconds, and the job of the last step.
-- Runs on: any node. Shape: step_ms, mark_ms, cancel_ms,
--          last_job.
SELECT
    dateDiff('millisecond', maxIf(ledger.at, (unit != '') AND (toString(state) IN ('begun', 'stored', 'done'))), now64(3)) AS step_ms,
    dateDiff('millisecond', maxIf(ledger.at, (unit = '') AND (toString(state) = 'undoing')), now64(3)) AS mark_ms,
    dateDiff('millisecond', (
        SELECT max(notes.at)
        FROM {{ database }}.backfill_ledger AS notes
        WHERE (unit = '') AND (file = '') AND (toString(state) = 'cancelled')
            AND (job GLOBAL IN (
                SELECT job
                FROM {{ database }}.backfill_files
                WHERE file GLOBAL IN (
{% filter indent(20, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %})))
    ), now64(3)) AS cancel_ms,
    argMaxIf(ledger.job, ledger.at, (unit != '') AND (toString(state) IN ('begun', 'stored', 'done'))) AS last_job
FROM {{ database }}.backfill_ledger AS ledger
WHERE file GLOBAL IN (
{% filter indent(4, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %})
