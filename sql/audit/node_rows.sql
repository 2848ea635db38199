-- Purpose: the rows of a page, each with its hash, its latest version, whether that version is a
--          deletion, and whether any stored version is one.
-- Runs on: every node. Shape: digest (32 hexadecimal digits), key, hash, newest, is_deleted,
--          was_deleted.
SELECT
    lower(hex(digest)) AS digest,
    {% if with_key %}key{% else %}''{% endif %} AS key,
    hash,
    newest,
    gone AS is_deleted,
    was_deleted
FROM
(
{% filter indent(4, true) %}{% include 'audit/node_hashed.sql' %}{% endfilter %}
)
