-- Purpose: all jobs, each with its files, the progress of these files in any job, and its result.
--          Rows are those of whole bundles: a job that names some files of one has all its rows.
-- Runs on: any node. Shape: job, files, bytes, rows, stored, blocks, units_begun, units_done,
--          rejected, team_id, begun_at, last_at, cancelled_at, proven_at, undone_at, undone_files,
--          undoing_files, locations.
WITH
    bundles AS
    (
        SELECT
            file,
            sum(file_rows) AS bundle_rows,
            any(file_shards) AS bundle_shards,
            count() < any(bundle_count) AS in_part,
            max(first_at) AS bundle_at
        FROM
        (
            SELECT
                file,
                any(rows) AS file_rows,
                any(arrayCount(weight -> weight > 0, weights)) AS file_shards,
                any(bundle_files) AS bundle_count,
                min(at) AS first_at
            FROM {{ database }}.backfill_files
            GROUP BY file, location
        )
        GROUP BY file
    ),
    begun AS
    (
        SELECT DISTINCT
            file,
            1 AS is_begun
        FROM {{ database }}.backfill_ledger
        WHERE unit != ''
    ),
    recorded AS
    (
        SELECT
            job,
            file,
            location AS file_location,
            identity,
            mapping_fingerprint,
            any(bytes) AS file_bytes,
            any(team_id) AS file_team_id,
            min(at) AS file_at
        FROM {{ database }}.backfill_files
        WHERE ({job:String} = '') OR (job = {job:String})
        GROUP BY job, file, location, identity, mapping_fingerprint
    ),
    marks AS
    (
        SELECT
            file,
            if(countIf(toString(state) = 'undone') > 0, 'undone', 'undoing') AS file_mark,
            max(at) AS mark_at
        FROM {{ database }}.backfill_ledger
        WHERE (unit = '') AND (file != '') AND (toString(state) IN ('undoing', 'undone'))
        GROUP BY file
    ),
    wanted AS
    (
        -- Of a file that two runs bundled differently, one bundle is loaded. A file that was loaded
        -- again after an undo counts in its last load.
        SELECT
            recorded.job AS job,
            recorded.file AS file,
            file_location,
            file_bytes,
            file_team_id,
            file_at,
            bundle_rows,
            bundle_shards,
            file_mark
        FROM recorded
        INNER JOIN bundles ON recorded.file = bundles.file
        LEFT JOIN begun ON recorded.file = begun.file
        LEFT JOIN marks ON recorded.file = marks.file
        ORDER BY
            file_mark = 'undone',
            is_begun DESC,
            in_part,
            if(file_mark = 'undone', -1, 1) * toUnixTimestamp64Milli(bundle_at)
        LIMIT 1 BY recorded.job, file_location, identity, mapping_fingerprint
    ),
    undone AS
    (
        SELECT recorded.job AS job, max(mark_at) AS last_undo
        FROM recorded
        INNER JOIN marks ON recorded.file = marks.file
        GROUP BY job
    ),
    jobs_bundles AS
    (
        SELECT DISTINCT
            job,
            file,
            bundle_rows,
            bundle_shards,
            file_mark
        FROM wanted
    ),
    steps AS
    (
        SELECT
            file,
            unit,
            shard,
            state,
            any(rows) AS step_rows,
            max(rejected) AS step_rejected,
            max(at) AS step_at
        FROM {{ database }}.backfill_ledger
        WHERE unit != ''
        GROUP BY file, unit, shard, state, slice, month
    ),
    units AS
    (
        SELECT
            file,
            unit,
            sumIf(step_rows, state = 'stored') AS unit_stored,
            countIf(state = 'stored') AS unit_blocks,
            uniqExactIf(shard, state = 'done') AS shards_done,
            max(step_rejected) AS unit_rejected,
            max(step_at) AS unit_at
        FROM steps
        GROUP BY file, unit
    ),
    done AS
    (
        SELECT
            jobs_bundles.job AS job,
            sum(unit_stored) AS stored,
            sum(unit_blocks) AS blocks,
            count() AS units_begun,
            countIf(shards_done >= bundle_shards) AS units_done,
            sumIf(unit_rejected, shards_done >= bundle_shards) AS rejected,
            max(unit_at) AS done_at
        FROM jobs_bundles
        INNER JOIN units ON jobs_bundles.file = units.file
        WHERE file_mark != 'undone'
        GROUP BY job
    ),
    notes AS
    (
        SELECT
            job,
            maxIf(at, state = 'cancelled') AS cancel_at,
            maxIf(at, state = 'proven') AS proof_at
        FROM {{ database }}.backfill_ledger
        WHERE unit = ''
        GROUP BY job
    ),
    jobs AS
    (
        SELECT
            job,
            count() AS files,
            sum(file_bytes) AS bytes,
            any(file_team_id) AS team_id,
            min(file_at) AS first_at,
            countIf(file_mark = 'undone') AS undone_files,
            countIf(file_mark = 'undoing') AS undoing_files,
            arraySort(groupArray(5)(file_location)) AS locations
        FROM wanted
        GROUP BY job
    ),
    source_rows AS
    (
        SELECT
            job,
            sum(bundle_rows) AS rows
        FROM jobs_bundles
        GROUP BY job
    )
SELECT
    jobs.job AS job,
    files,
    bytes,
    rows,
    stored,
    blocks,
    units_begun,
    units_done,
    rejected,
    team_id,
    toString(first_at) AS begun_at,
    toString(greatest(first_at, done_at, last_undo)) AS last_at,
    if(toUnixTimestamp64Milli(cancel_at) = 0, '', toString(cancel_at)) AS cancelled_at,
    if(proof_at <= last_undo, '', toString(proof_at)) AS proven_at,
    if(toUnixTimestamp64Milli(last_undo) = 0, '', toString(last_undo)) AS undone_at,
    undone_files,
    undoing_files,
    locations
FROM jobs
LEFT JOIN source_rows ON jobs.job = source_rows.job
LEFT JOIN done ON jobs.job = done.job
LEFT JOIN notes ON jobs.job = notes.job
LEFT JOIN undone ON jobs.job = undone.job
ORDER BY first_at
