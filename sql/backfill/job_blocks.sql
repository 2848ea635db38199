-- Purpose: the blocks of a job's files that their shards have acknowledged to any job. Files that
--          are undone are left out.
-- Runs on: any node. Shape: shard, slice, month, unit, file, rows, checksum.
SELECT
    shard,
    slice,
    month,
    any(unit) AS unit,
    any(block_file) AS file,
    sum(block_rows) AS rows,
    sum(block_checksum) AS checksum
FROM
(
    SELECT
        shard,
        slice,
        month,
        unit,
        any(file) AS block_file,
        any(rows) AS block_rows,
        any(checksum) AS block_checksum
    FROM {{ database }}.backfill_ledger
    WHERE (state = 'stored')
        AND (file GLOBAL IN (
{%- set set = 'live' %}
{% filter indent(12, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))
    GROUP BY shard, slice, month, unit
)
GROUP BY shard, slice, month
ORDER BY shard, month, slice
