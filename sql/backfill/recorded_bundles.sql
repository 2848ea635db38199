-- Purpose: how many files of a bundle are recorded, and since when the last of them is. A run that
--          was killed while it recorded a bundle has loaded none of it.
-- Runs on: any node. Shape: file, recorded, at.
SELECT
    file,
    count() AS recorded,
    toString(max(first_at)) AS at
FROM
(
    SELECT
        file,
        location,
        min(backfill_files.at) AS first_at
    FROM {{ database }}.backfill_files
    WHERE file IN {files:Array(String)}
    GROUP BY file, location
)
GROUP BY file
