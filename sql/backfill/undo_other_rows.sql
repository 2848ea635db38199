-- Purpose: rows of some partitions that are not of a set of files.
-- Runs on: a node of each shard. Shape: partition, rows.
SELECT _partition_id AS partition, count() AS rows
FROM {{ database }}.sharded_events
WHERE (_partition_id IN {partitions:Array(String)})
    AND NOT ((_offset >= 0x8000000000000000) AND (bitShiftRight(bitAnd(_offset, 0x7FFFFFFFFFFFFFFF), {{ row_bits }}) IN (
{% filter indent(8, true) %}{% include 'backfill/undo_slices.sql' %}{% endfilter %})))
GROUP BY partition
