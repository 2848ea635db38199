-- Purpose: all jobs, each with its files, the progress of these files in any job, and its result.
--          Rows are those of whole bundles: a job that names some files of one has all its rows.
-- Runs on: any node. Shape: job, files, bytes, rows, stored, blocks, units_begun, units_done,
--          rejected, team_id, begun_at, last_at, cancelled_at, proven_at, locations.
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
    wanted AS
    (
        -- Of a file that two runs bundled differently, one bundle is loaded.
        SELECT
            recorded.job AS job,
            recorded.file AS file,
            file_location,
            file_bytes,
            file_team_id,
            file_at,
            bundle_rows,
            bundle_shards
        FROM recorded
        INNER JOIN bundles ON recorded.file = bundles.file
        LEFT JOIN begun ON recorded.file = begun.file
        ORDER BY is_begun DESC, in_part, bundle_at
        LIMIT 1 BY recorded.job, file_location, identity, mapping_fingerprint
    ),
    jobs_bundles AS
    (
        SELECT DISTINCT
            job,
            file,
            bundle_rows,
            bundle_shards
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
    toString(greatest(first_at, done_at)) AS last_at,
    if(toUnixTimestamp64Milli(cancel_at) = 0, '', toString(cancel_at)) AS cancelled_at,
    if(toUnixTimestamp64Milli(proof_at) = 0, '', toString(proof_at)) AS proven_at,
    locations
FROM jobs
LEFT JOIN source_rows ON jobs.job = source_rows.job
LEFT JOIN done ON jobs.job = done.job
LEFT JOIN notes ON jobs.job = notes.job
ORDER BY first_at
