-- Purpose: some events of a set of files whose row a merge may have kept instead of another one.
-- Runs on: a node of each shard. Shape: event.
SELECT toValidUTF8(concat(
    'team ', toString(team_id), ', ', toString(toDate(timestamp)), ', ', substringUTF8(event, 1, 80), ', ',
    substringUTF8(distinct_id, 1, 80), ', ', toString(uuid))) AS event
FROM {{ database }}.sharded_events AS events
WHERE (_offset >= 0x8000000000000000)
    AND (_partition_id = {partition:String})
    AND (splitByChar('_', _part)[4] != '0')
    AND ((_timestamp > 0) OR {undated:Bool})
    AND (bitShiftRight(bitAnd(_offset, 0x7FFFFFFFFFFFFFFF), {{ row_bits }}) IN (
{% filter indent(8, true) %}{% include 'backfill/undo_slices.sql' %}{% endfilter %}))
ORDER BY _offset
LIMIT {{ limit }}
