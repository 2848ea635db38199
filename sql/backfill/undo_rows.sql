-- Purpose: the stored rows of a set of files by partition and slice. Merged rows are those in parts
--          that a merge has made; an insert of a load makes a part of level 0. Of rows of one event
--          a merge keeps the one with the latest _timestamp.
-- Runs on: every node with data. Shape: partition, slice, rows, merged, dated.
SELECT
    partition,
    slice,
    sum(part_rows) AS rows,
    sumIf(part_rows, is_merged) AS merged,
    sumIf(part_dated, is_merged) AS dated
FROM
(
    SELECT
        _partition_id AS partition,
        splitByChar('_', _part)[4] != '0' AS is_merged,
        bitShiftRight(bitAnd(_offset, 0x7FFFFFFFFFFFFFFF), {{ row_bits }}) AS slice,
        count() AS part_rows,
        countIf(_timestamp > 0) AS part_dated
    FROM {{ database }}.sharded_events
    WHERE (_offset >= 0x8000000000000000)
        AND (slice IN (
{% filter indent(12, true) %}{% include 'backfill/undo_slices.sql' %}{% endfilter %}))
    GROUP BY _partition_id, _part, slice
)
GROUP BY partition, slice
ORDER BY partition, slice
