-- Purpose: the stored rows of one month of a job's slices, counted on every shard row by row, to
--          verify a load.
-- Reads:   events; backfill_ledger for the slices of the job.
-- Runs on: any node. Shape: shard, slice, month, rows, checksum, cells (one sum for each column
--          beyond the core that the job has filled), wrong_shard.
SELECT
    _shard_num AS shard,
    bitShiftRight(bitAnd(_offset, 0x7FFFFFFFFFFFFFFF), {{ row_bits }}) AS slice,
    clamp(toYYYYMM(timestamp), 202001, 203512) AS month,
    count() AS rows,
    sum({% include 'backfill/row_hash.sql' %}) AS checksum,
    {%- if columns %}
    {%- from 'backfill/cell_hash.sql' import cell_hash %}
    [{% for column in columns %}sum({{ cell_hash(column) }}){{ ", " if not loop.last }}{% endfor %}] AS cells,
    {%- endif %}
    countIf(({{ slots_before }}[_shard_num] > sipHash64(distinct_id) % {{ slots }})
        OR ({{ slots_before }}[_shard_num] + {{ weights }}[_shard_num] <= sipHash64(distinct_id) % {{ slots }})) AS wrong_shard
FROM {{ database }}.events
WHERE (clamp(toYYYYMM(timestamp), 202001, 203512) = {month:UInt32})
    AND (_offset >= 0x8000000000000000)
    AND (slice GLOBAL IN (
        SELECT slice
        FROM {{ database }}.backfill_ledger
        WHERE (state = 'stored')
            AND (file GLOBAL IN (
{%- set set = 'live' %}
{% filter indent(16, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))))
GROUP BY
    shard,
    slice,
    month
