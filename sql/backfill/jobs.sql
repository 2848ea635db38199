-- Purpose: every backfill: what it wants, how far it has come, and how it ended.
-- Runs on: any node. Shape: job, files, bytes, rows, stored, blocks, units_begun, units_done, rejected, team_id, begun_at,
--          last_at, cancelled_at, proven_at, locations.
SELECT
    job,
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
    toString(greatest(first_at, step_at)) AS last_at,
    if(toUnixTimestamp64Milli(cancel_at) = 0, '', toString(cancel_at)) AS cancelled_at,
    if(toUnixTimestamp64Milli(proof_at) = 0, '', toString(proof_at)) AS proven_at,
    locations
FROM
(
    SELECT
        job,
        count() AS files,
        sum(file_bytes) AS bytes,
        sum(file_rows) AS rows,
        any(file_team_id) AS team_id,
        min(file_at) AS first_at,
        arraySort(groupArray(5)(location)) AS locations
    FROM
    (
        SELECT
            job,
            location,
            any(bytes) AS file_bytes,
            any(rows) AS file_rows,
            any(team_id) AS file_team_id,
            min(at) AS file_at
        FROM {{ database }}.backfill_files
        WHERE ({job:String} = '') OR (job = {job:String})
        GROUP BY job, location
    )
    GROUP BY job
) AS wanted
LEFT JOIN
(
    SELECT
        job,
        sum(unit_stored) AS stored,
        sum(unit_blocks) AS blocks,
        countIf(unit_begun) AS units_begun,
        countIf(unit_done) AS units_done,
        sum(unit_rejected) AS rejected,
        max(unit_at) AS step_at,
        max(unit_cancel_at) AS cancel_at,
        max(unit_proof_at) AS proof_at
    FROM
    (
        SELECT
            job,
            unit,
            sumIf(step_rows, state = 'stored') AS unit_stored,
            countIf(state = 'stored') AS unit_blocks,
            countIf(state = 'begun') > 0 AS unit_begun,
            countIf(state = 'done') > 0 AS unit_done,
            max(step_rejected) AS unit_rejected,
            max(latest) AS unit_at,
            maxIf(latest, state = 'cancelled') AS unit_cancel_at,
            maxIf(latest, state = 'proven') AS unit_proof_at
        FROM
        (
            SELECT
                job,
                unit,
                state,
                any(rows) AS step_rows,
                max(rejected) AS step_rejected,
                max(at) AS latest
            FROM {{ database }}.backfill_ledger
            WHERE ({job:String} = '') OR (job = {job:String})
            GROUP BY job, unit, shard, state, slice, month
        )
        GROUP BY job, unit
    )
    GROUP BY job
) AS done USING (job)
ORDER BY first_at
