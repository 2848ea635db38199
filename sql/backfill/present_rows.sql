-- Purpose: the row ids of a block that are still stored. Merges remove rows of the same event.
-- Runs on: any node. Shape: place.
SELECT _offset AS place
FROM {{ database }}.events
WHERE (_offset BETWEEN {first_offset:UInt64} AND {last_offset:UInt64})
    AND (clamp(toYYYYMM(timestamp), 202001, 203512) = {month:UInt32})
    AND (_shard_num = {shard:UInt32})
