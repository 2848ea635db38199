-- Purpose: the blocks of a set of files that a shard has acknowledged.
-- Runs on: a node of each shard. Shape: partition, slice, rows.
SELECT toString(month) AS partition, slice, sum(block_rows) AS rows
FROM
(
    SELECT slice, month, any(rows) AS block_rows
    FROM {{ database }}.sharded_backfill_ledger
    WHERE (toString(state) = 'stored')
        AND (file IN (
{% filter indent(12, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))
    GROUP BY file, unit, slice, month
)
GROUP BY partition, slice
