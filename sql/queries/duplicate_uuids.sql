-- Purpose: events whose uuid is stored with another day, name or distinct id too, by kind. Merges
--          never collapse these rows, because their sorting keys differ.
-- Reads:   events of all shards, since another distinct id may be on another shard.
-- Writes:  none.
-- Runs on: every node. SELECT * FROM duplicate_uuids(since = '2026-01-01', until = '2027-01-01')
--
-- Rows outside of since and until are not compared. Memory grows with the number of uuids between
-- them, so a large table is looked at month by month.
CREATE VIEW {{ database }}.duplicate_uuids
AS SELECT
    toDate(first) AS day,
    team_id,
    count() AS uuids,
    sum(stored) AS rows,
    countIf(toDate(first) != toDate(last)) AS other_day,
    countIf(first_event != last_event) AS other_event,
    countIf(first_id != last_id) AS other_distinct_id
FROM
(
    SELECT
        team_id,
        uuid,
        count() AS stored,
        min(timestamp) AS first,
        max(timestamp) AS last,
        min(event) AS first_event,
        max(event) AS last_event,
        min(cityHash64(distinct_id)) AS first_id,
        max(cityHash64(distinct_id)) AS last_id
    FROM {{ database }}.events
    WHERE (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
    GROUP BY
        team_id,
        uuid
    HAVING (toDate(first) != toDate(last)) OR (first_event != last_event) OR (first_id != last_id)
)
GROUP BY
    day,
    team_id
ORDER BY
    day,
    team_id
