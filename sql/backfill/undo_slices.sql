{#- The slices of a set of files: those that the ledger has, and more that were found on a shard. -#}
SELECT slice
FROM {{ database }}.backfill_ledger
WHERE (slice != 0)
    AND (file GLOBAL IN (
{% filter indent(8, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))
UNION ALL
SELECT arrayJoin({more:Array(UInt64)}) AS slice
