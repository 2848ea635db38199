-- Purpose: the number of these events that a shard stores, from any row. Merges keep one row of an
--          event, which is one sorting key of sharded_events.
-- Runs on: any node. Shape: events.
SELECT uniqExact(team_id, toDate(timestamp), event, distinct_id, uuid) AS events
FROM {{ database }}.events
WHERE (team_id IN {team_ids:Array(Int64)})
    AND (uuid IN {uuids:Array(UUID)})
    AND (_shard_num = {shard:UInt32})
    AND ((team_id, toDate(timestamp), event, distinct_id, uuid) IN (
        SELECT arrayJoin(arrayZip(
            {team_ids:Array(Int64)},
            arrayMap(day -> toDate(day), {days:Array(UInt16)}),
            {names:Array(String)},
            {distinct_ids:Array(String)},
            {uuids:Array(UUID)}))))
