-- Purpose: rows of other jobs that a shard has acknowledged and does not store any more, by
--          partition and job. Files that are undone are left out.
-- Runs on: a node of each shard. Shape: partition, job, rows.
WITH
    blocks AS
    (
        SELECT
            slice,
            month,
            any(job) AS block_job,
            sum(unit_rows) AS block_rows
        FROM
        (
            SELECT unit, slice, month, any(job) AS job, any(rows) AS unit_rows
            FROM {{ database }}.sharded_backfill_ledger
            WHERE (toString(state) = 'stored')
                AND (toString(month) IN {partitions:Array(String)})
                AND (file NOT IN (
                    SELECT file FROM {{ database }}.backfill_ledger WHERE (unit = '') AND (file != '') AND (toString(state) = 'undone')))
                AND (file NOT IN (
{% filter indent(20, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))
            GROUP BY unit, slice, month
        )
        GROUP BY slice, month
    ),
    present AS
    (
        SELECT
            bitShiftRight(bitAnd(_offset, 0x7FFFFFFFFFFFFFFF), {{ row_bits }}) AS slice,
            toUInt32(_partition_id) AS month,
            count() AS present_rows
        FROM {{ database }}.sharded_events
        WHERE (_offset >= 0x8000000000000000) AND (_partition_id IN {partitions:Array(String)})
        GROUP BY slice, month
    )
SELECT
    toString(blocks.month) AS partition,
    block_job AS job,
    sum(block_rows - least(block_rows, present_rows)) AS rows
FROM blocks
LEFT JOIN present ON (blocks.slice = present.slice) AND (blocks.month = present.month)
GROUP BY partition, job
HAVING rows > 0
ORDER BY partition, job
