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
    toString(begun_at) AS begun_at,
    toString(greatest(begun_at, last_at)) AS last_at,
    if(toUnixTimestamp64Milli(cancelled_at) = 0, '', toString(cancelled_at)) AS cancelled_at,
    if(toUnixTimestamp64Milli(proven_at) = 0, '', toString(proven_at)) AS proven_at,
    locations
FROM
(
    SELECT
        job,
        count() AS files,
        sum(file_bytes) AS bytes,
        sum(file_rows) AS rows,
        any(file_team_id) AS team_id,
        min(file_at) AS begun_at,
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
        sumIf(step_rows, state = 'stored') AS stored,
        countIf(state = 'stored') AS blocks,
        uniqExactIf(unit, state = 'begun') AS units_begun,
        uniqExactIf(unit, state = 'done') AS units_done,
        sum(if(state = 'done', step_rejected, 0)) AS rejected,
        max(step_at) AS last_at,
        maxIf(step_at, state = 'cancelled') AS cancelled_at,
        maxIf(step_at, state = 'proven') AS proven_at
    FROM
    (
        {#- Every shard has the unit's count of rejects: it is taken from the one that is first. #}
        SELECT
            job,
            unit,
            state,
            any(rows) AS step_rows,
            if(shard = min(shard) OVER (PARTITION BY job, unit, state), max(rejected), 0) AS step_rejected,
            max(at) AS step_at
        FROM {{ database }}.backfill_ledger
        WHERE ({job:String} = '') OR (job = {job:String})
        GROUP BY job, unit, shard, state, slice, month
    )
    GROUP BY job
) AS done USING (job)
ORDER BY begun_at
