-- Purpose: inserts of blocks of these files that a node executes now, by their tokens.
-- Runs on: every node. Shape: inserts.
SELECT count() AS inserts
FROM system.processes
WHERE startsWith(Settings['insert_deduplication_token'], 'posthouse-')
    AND (substring(Settings['insert_deduplication_token'], 11, 32) IN (
        SELECT unit
        FROM {{ database }}.backfill_ledger
        WHERE (unit != '')
            AND (file GLOBAL IN (
{% filter indent(16, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))))
