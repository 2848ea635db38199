-- Purpose: events that are stored more than once, by cause: sent again by a producer (another
--          message with the same event), or stored again (the same message twice).
-- Reads:   events; the rows of an event are on one shard, so each shard counts its own.
-- Writes:  none.
-- Runs on: every node. SELECT * FROM duplicate_events(since = '2026-01-01', until = '2027-01-01')
--
-- A message is identified by its second in Kafka and its offset. Merges of sharded_events remove
-- duplicates eventually, and the counts are those of the current rows.
CREATE VIEW {{ database }}.duplicate_events
AS SELECT
    toDate(timestamp) AS day,
    team_id,
    count() AS rows,
    uniqExact(eventFingerprint(team_id, uuid, event, distinct_id, timestamp)) AS events,
    uniqExact(eventFingerprint(team_id, uuid, event, distinct_id, timestamp), _timestamp, _offset) AS messages,
    messages - events AS sent_again,
    rows - messages AS stored_again
FROM {{ database }}.events
WHERE (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
GROUP BY
    day,
    team_id
ORDER BY
    day,
    team_id
