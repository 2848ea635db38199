-- Purpose: slices with rows on a shard and without any record in the ledger: their insert was
--          acknowledged or not, and the loader was killed before it recorded the block.
-- Runs on: a node of each shard. Shape: slice.
SELECT DISTINCT bitShiftRight(bitAnd(_offset, 0x7FFFFFFFFFFFFFFF), {{ row_bits }}) AS slice
FROM {{ database }}.sharded_events
WHERE (_offset >= 0x8000000000000000)
    AND (slice NOT IN (SELECT slice FROM {{ database }}.backfill_ledger WHERE slice != 0))
LIMIT {{ limit }}
