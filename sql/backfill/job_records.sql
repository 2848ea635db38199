-- Purpose: the files that a job has recorded.
-- Runs on: any node. Shape: file, location.
SELECT DISTINCT
    file,
    location
FROM {{ database }}.backfill_files
WHERE job = {job:String}
