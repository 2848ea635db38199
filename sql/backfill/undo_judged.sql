-- Purpose: the partitions of an undo that were judged before the first row was deleted, with the
--          rows of the job and the other rows of that time.
-- Runs on: any node. Shape: shard, partition, rows, others.
{#- Rows that came back after an undo are judged anew, though the files and so the undo's id are the
    same. The clocks of one shard's nodes order the records. #}
SELECT
    shard,
    toString(month) AS partition,
    argMaxIf(ledger.rows, ledger.at, toString(state) = 'undoing') AS rows,
    argMaxIf(ledger.checksum, ledger.at, toString(state) = 'undoing') AS others
FROM {{ database }}.backfill_ledger AS ledger
WHERE (file = '') AND (unit = {undo:String}) AND (toString(state) IN ('undoing', 'undone'))
GROUP BY shard, partition
HAVING (maxIf(ledger.at, toString(state) = 'undoing') > maxIf(ledger.at, toString(state) = 'undone'))
{%- if set != 'undone' %}
    OR (countIf(toString(state) = 'undoing') > 0)
{%- endif %}
