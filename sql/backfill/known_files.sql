-- Purpose: records of files at these locations, or with the same identity at other locations.
-- Runs on: any node. Shape: job, file, location, identity, mapping_fingerprint, weights,
--          slice_bytes, unit_bytes, at.
SELECT
    job,
    file,
    location,
    identity,
    mapping_fingerprint,
    weights,
    slice_bytes,
    unit_bytes,
    toString(min(backfill_files.at)) AS at
FROM {{ database }}.backfill_files
WHERE (xxh3(location) IN {locations:Array(UInt64)}) OR (xxh3(identity) IN {identities:Array(UInt64)})
GROUP BY
    job,
    file,
    location,
    identity,
    mapping_fingerprint,
    weights,
    slice_bytes,
    unit_bytes
ORDER BY at, slice_bytes, unit_bytes
