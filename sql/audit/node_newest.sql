-- Purpose: the greatest version of any person or distinct id.
-- Runs on: every node.
SELECT greatest(
    (SELECT max(version) FROM {{ database }}.person),
    (SELECT toUInt64(greatest(max(version), 0)) FROM {{ database }}.{{ distinct_id_table }})) AS version
