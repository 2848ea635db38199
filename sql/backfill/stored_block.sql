-- Purpose: the number of rows of one block that a shard already holds, and whether its file is
--          undone.
-- Reads:   sharded_events and sharded_backfill_ledger of the shard, or events and backfill_ledger
--          for a shard that is only reached through others.
-- Runs on: a node of the shard, or any node. Shape: rows, undone.
--
-- The row ids of a slice span all of its months, so the month is compared too.
SELECT
    count() AS rows,
    (
        SELECT count()
        FROM {{ database }}.{{ ledger }}
        WHERE (file = {file:String}) AND (unit = '') AND (toString(state) IN ('undoing', 'undone'))
    ) AS undone
FROM {{ database }}.{{ table }}
WHERE (_offset BETWEEN {first_offset:UInt64} AND {last_offset:UInt64})
    AND (timestamp BETWEEN fromUnixTimestamp64Micro({first:Int64}, 'UTC') AND fromUnixTimestamp64Micro({last:Int64}, 'UTC'))
    AND (clamp(toYYYYMM(timestamp), 202001, 203512) = {month:UInt32})
    {%- if table == 'events' %}
    AND (_shard_num = {shard:UInt32})
    {%- endif %}
