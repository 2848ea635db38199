-- Purpose: units of a set of files that a run has begun and not done, so that blocks of them may be
--          stored without a record, with the rows of their files.
-- Runs on: any node. Shape: file, unit, rows.
WITH
    files AS
    (
        SELECT
            file,
            sum(location_rows) AS file_rows,
            any(location_shards) AS file_shards
        FROM
        (
            SELECT
                file,
                location,
                any(rows) AS location_rows,
                any(arrayCount(weight -> weight > 0, weights)) AS location_shards
            FROM {{ database }}.backfill_files
            WHERE file GLOBAL IN (
{% filter indent(16, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %})
            GROUP BY file, location
        )
        GROUP BY file
    ),
    units AS
    (
        SELECT file, unit, uniqExactIf(shard, toString(state) = 'done') AS shards_done
        FROM {{ database }}.backfill_ledger
        WHERE (unit != '')
            AND (file GLOBAL IN (
{% filter indent(16, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))
        GROUP BY file, unit
    )
SELECT files.file AS file, unit, file_rows AS rows
FROM files
INNER JOIN units ON files.file = units.file
WHERE shards_done < file_shards
