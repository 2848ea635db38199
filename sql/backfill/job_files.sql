-- Purpose: the files of a job and all others that were loaded together with them, with the mapping,
--          its fingerprint and the team of each.
-- Runs on: any node. Shape: location, mapping, mapping_fingerprint, team_id.
SELECT
    location,
    any(mapping) AS mapping,
    any(mapping_fingerprint) AS mapping_fingerprint,
    any(team_id) AS team_id
FROM {{ database }}.backfill_files
WHERE file GLOBAL IN (SELECT file FROM {{ database }}.backfill_files WHERE job = {job:String})
GROUP BY location
ORDER BY location
