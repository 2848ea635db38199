-- Purpose: for each of 65,536 buckets of keys how many live rows this node has, and a sum of their hashes.
-- Runs on: every node.
SELECT
    reinterpretAsUInt16(reverse(substring(digest, 1, 2))) AS bucket,
    count() AS count,
    sum(hash) AS sum
FROM
(
{% filter indent(4, true) %}{% include 'audit/node_hashed.sql' %}{% endfilter %}
)
WHERE gone = 0
GROUP BY bucket
