-- Purpose: the live rows of some buckets, each with its hash, its version, and whether a deletion of it is still stored.
-- Runs on: every node.
SELECT key, hash, newest, was_deleted
FROM
(
{% filter indent(4, true) %}{% include 'audit/node_hashed.sql' %}{% endfilter %}
)
WHERE bucket IN ({{ buckets }})
