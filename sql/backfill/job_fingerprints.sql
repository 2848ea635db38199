-- Purpose: the fingerprint of each file of a job, which names the columns that its checksums cover.
-- Runs on: any node. Shape: file, mapping_fingerprint.
SELECT
    file,
    any(mapping_fingerprint) AS mapping_fingerprint
FROM {{ database }}.backfill_files
WHERE job = {job:String}
GROUP BY file
