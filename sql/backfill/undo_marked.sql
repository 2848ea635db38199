-- Purpose: files of a set that a shard's ledger has as being undone.
-- Runs on: a node of each shard. Shape: files.
SELECT uniqExact(file) AS files
FROM {{ database }}.sharded_backfill_ledger
WHERE (unit = '') AND (toString(state) = 'undoing')
    AND (file IN (
{% filter indent(8, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))
