-- Purpose: the rows of some buckets, each with its hash, its version, whether that is a deletion, and whether one is still stored.
-- Runs on: every node.
SELECT key, hash, newest, gone AS is_deleted, was_deleted
FROM
(
{% filter indent(4, true) %}{% include 'audit/node_hashed.sql' %}{% endfilter %}
)
WHERE bucket IN ({{ buckets }})
