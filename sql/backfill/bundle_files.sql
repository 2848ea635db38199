-- Purpose: the locations of all files of some bundles.
-- Runs on: any node. Shape: file, location.
SELECT DISTINCT
    file,
    location
FROM {{ database }}.backfill_files
WHERE file IN {files:Array(String)}
