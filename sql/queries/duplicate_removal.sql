-- Purpose: statements that remove the events that duplicate_uuids counts, for each shard. Of the
--          days, names and distinct ids of a uuid, the one with the newest message stays, as in
--          a merge of equal sorting keys.
-- Reads:   events of all shards.
-- Writes:  none; an operator runs the statements, each on one replica of its shard.
-- Runs on: every node.
--          SELECT * FROM duplicate_removal(since = '2026-01-01', until = '2027-01-01')
--
-- Strings are hashed, so that a statement has no quotes to escape. A statement has at most 1000
-- keys, because a server parses 256 KiB.
CREATE VIEW {{ database }}.duplicate_removal
AS SELECT
    shard,
    sum(copies) AS rows,
    concat(
        'DELETE FROM {{ database }}.sharded_events WHERE (team_id, uuid, toDate(timestamp), cityHash64(event), cityHash64(distinct_id)) IN (',
        arrayStringConcat(groupArray(toString(key)), ', '),
        ')') AS statement
FROM
(
    SELECT
        shard,
        copies,
        key,
        intDiv(row_number() OVER (PARTITION BY shard ORDER BY key) - 1, 1000) AS part
    FROM
    (
        SELECT
            tupleElement(version, 1) AS shard,
            tupleElement(version, 2) AS key,
            tupleElement(version, 3) AS copies,
            kept
        FROM
        (
            SELECT
                groupArray((shard, key, copies)) AS versions,
                argMax(key, (newest, key)) AS kept
            FROM
            (
                SELECT
                    _shard_num AS shard,
                    (team_id, uuid, toDate(timestamp), cityHash64(event), cityHash64(distinct_id)) AS key,
                    count() AS copies,
                    max((_timestamp, _offset)) AS newest
                FROM {{ database }}.events
                WHERE (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
                    AND ((team_id, uuid) GLOBAL IN
                    (
                        SELECT
                            team_id,
                            uuid
                        FROM {{ database }}.events
                        WHERE (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
                        GROUP BY
                            team_id,
                            uuid
                        HAVING (toDate(min(timestamp)) != toDate(max(timestamp))) OR (min(event) != max(event))
                            OR (min(cityHash64(distinct_id)) != max(cityHash64(distinct_id)))
                    ))
                GROUP BY
                    shard,
                    key
            )
            GROUP BY
                tupleElement(key, 1),
                tupleElement(key, 2)
        )
        ARRAY JOIN versions AS version
    )
    WHERE key != kept
)
GROUP BY
    shard,
    part
ORDER BY
    shard,
    part
