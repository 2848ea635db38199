-- Purpose: records of files at these locations, or with the same identity at other locations, each
--          with the first job that had it.
-- Runs on: any node. Shape: job, file, location, identity, mapping_fingerprint, weights,
--          slice_bytes, unit_bytes, rows, bytes, bundle_files, at, undo, undone_by, undone_at.
WITH
    marks AS
    (
        SELECT
            file AS marked_file,
            if(countIf(toString(state) = 'undone') > 0, 'undone', 'undoing') AS mark,
            any(job) AS marked_by,
            if(mark = 'undone', toString(minIf(backfill_ledger.at, toString(state) = 'undone')), '') AS marked_at
        FROM {{ database }}.backfill_ledger
        WHERE (unit = '') AND (file != '') AND (toString(state) IN ('undoing', 'undone'))
        GROUP BY file
    )
SELECT
    files.*,
    mark AS undo,
    marked_by AS undone_by,
    marked_at AS undone_at
FROM
(
    SELECT
        argMin(job, backfill_files.at) AS job,
        file,
        location,
        identity,
        mapping_fingerprint,
        weights,
        slice_bytes,
        unit_bytes,
        any(backfill_files.rows) AS rows,
        any(backfill_files.bytes) AS bytes,
        any(backfill_files.bundle_files) AS bundle_files,
        toString(min(backfill_files.at)) AS at
    FROM {{ database }}.backfill_files
    WHERE (xxh3(location) IN {locations:Array(UInt64)}) OR (xxh3(identity) IN {identities:Array(UInt64)})
    GROUP BY
        file,
        location,
        identity,
        mapping_fingerprint,
        weights,
        slice_bytes,
        unit_bytes
) AS files
LEFT JOIN marks ON files.file = marks.marked_file
ORDER BY at, slice_bytes, unit_bytes
