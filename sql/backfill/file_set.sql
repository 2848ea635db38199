{#- A set of a job's file ids. Of a file that was loaded again after an undo, each load has its own
    id. set: 'live' (not undone), 'own' (not undone and in no other job), 'undoing' (an undo of it
    is not finished) or 'undone'. -#}
SELECT DISTINCT file
FROM {{ database }}.backfill_files
WHERE (job = {job:String})
    AND (file GLOBAL {{ 'IN' if set == 'undone' else 'NOT IN' }} (
        SELECT file FROM {{ database }}.backfill_ledger WHERE (unit = '') AND (file != '') AND (toString(state) = 'undone')))
{%- if set == 'undoing' %}
    AND (file GLOBAL IN (
        SELECT file FROM {{ database }}.backfill_ledger WHERE (unit = '') AND (file != '') AND (toString(state) = 'undoing')))
{%- elif set == 'own' %}
    AND (file GLOBAL NOT IN (SELECT file FROM {{ database }}.backfill_files WHERE job != {job:String}))
{%- endif %}
