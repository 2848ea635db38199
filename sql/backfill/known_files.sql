-- Purpose: what is remembered of files at these locations, and how far they have come.
-- Runs on: any node. Shape: job, location, identity, mapping_fingerprint, weights, slice_bytes, unit_bytes, at.
SELECT
    job,
    location,
    identity,
    mapping_fingerprint,
    weights,
    slice_bytes,
    unit_bytes,
    toString(min(at)) AS at
FROM {{ database }}.backfill_files
WHERE location IN {locations:Array(String)}
GROUP BY ALL
ORDER BY at
