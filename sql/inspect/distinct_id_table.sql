-- Purpose: the number of versions of distinct ids on the node, and the identity of their table.
-- Runs on: every node. Shape: rows, uuid.
SELECT
    (SELECT count() FROM {{ database }}.{{ table }}) AS rows,
    toString(uuid) AS uuid
FROM system.tables
WHERE (database = '{{ database }}') AND (name = '{{ table }}')
