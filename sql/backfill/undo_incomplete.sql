-- Purpose: how many of a set of files have rows that no unit has stored or rejected yet, so that a
--          load may be about to begin a unit of them.
-- Runs on: any node. Shape: files.
WITH
    files AS
    (
        SELECT
            file,
            sum(location_rows) AS file_rows
        FROM
        (
            SELECT
                file,
                any(rows) AS location_rows
            FROM {{ database }}.backfill_files
            WHERE file GLOBAL IN (
{% filter indent(16, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %})
            GROUP BY file, location
        )
        GROUP BY file
    ),
    done AS
    (
        SELECT
            file AS done_file,
            sum(unit_rows + unit_rejected) AS done_rows
        FROM
        (
            SELECT
                file,
                sum(shard_rows) AS unit_rows,
                max(shard_rejected) AS unit_rejected
            FROM
            (
                SELECT
                    file,
                    unit,
                    shard,
                    any(rows) AS shard_rows,
                    max(rejected) AS shard_rejected
                FROM {{ database }}.backfill_ledger
                WHERE (unit != '') AND (toString(state) = 'done')
                    AND (file GLOBAL IN (
{% filter indent(24, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %}))
                GROUP BY file, unit, shard
            )
            GROUP BY file, unit
        )
        GROUP BY file
    )
SELECT count() AS files
FROM files
LEFT JOIN done ON files.file = done.done_file
WHERE done_rows < file_rows
