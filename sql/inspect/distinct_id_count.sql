-- Purpose: the number of versions of distinct ids on the node.
-- Runs on: every node. Shape: rows.
SELECT count() AS rows
FROM {{ database }}.{{ table }}
