-- Purpose: for each of 65,536 buckets of keys: number of live rows on this node, sum of their
--          hashes, and number of rows including tombstones.
-- Runs on: every node. Shape: bucket, count, sum, stored.
SELECT
    reinterpretAsUInt16(reverse(substring(digest, 1, 2))) AS bucket,
    countIf(gone = 0) AS count,
    sumIf(hash, gone = 0) AS sum,
    count() AS stored
FROM
(
{% filter indent(4, true) %}{% include 'audit/node_hashed.sql' %}{% endfilter %}
)
GROUP BY bucket
