-- Purpose: the files of a job that are not undone, with an unfinished undo, the other jobs that
--          have them, and files outside of the job that share an id with one of them.
-- Runs on: any node. Shape: file, undone_by, begun_at, other_jobs, missing.
WITH
    files AS
    (
        SELECT job, file, location, min(at) AS file_at
        FROM {{ database }}.backfill_files
        WHERE file GLOBAL IN (
{% filter indent(12, true) %}{% include 'backfill/file_set.sql' %}{% endfilter %})
        GROUP BY job, file, location
    ),
    marks AS
    (
        SELECT file, any(job) AS marked_by
        FROM {{ database }}.backfill_ledger
        WHERE (unit = '') AND (file != '') AND (toString(state) = 'undoing')
        GROUP BY file
    )
SELECT
    files.file AS file,
    any(marked_by) AS undone_by,
    toString(min(file_at)) AS begun_at,
    groupUniqArrayIf(5)(files.job, files.job != {job:String}) AS other_jobs,
    groupUniqArrayIf(files.location, files.job = {job:String}) AS locations,
    arrayFilter(location -> NOT has(locations, location), groupUniqArray(files.location)) AS missing
FROM files
LEFT JOIN marks ON files.file = marks.file
GROUP BY file
ORDER BY file
