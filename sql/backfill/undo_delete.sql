-- Purpose: deletes the rows of some slices from a partition. Marks them as deleted in the parts
--          that have any; other parts and columns are not written. Merges remove marked rows.
-- Runs on: a node of each shard; its replicas execute it too.
DELETE FROM {{ database }}.sharded_events IN PARTITION ID '{{ partition }}'
WHERE (_offset >= 9223372036854775808)
    AND (bitShiftRight(bitAnd(_offset, 9223372036854775807), {{ row_bits }}) IN ({{ slices | join(', ') }}))
