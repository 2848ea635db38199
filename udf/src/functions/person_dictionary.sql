CREATE DICTIONARY posthog.person_of_key
(
    person_key UInt64,
    person_id UUID
)
PRIMARY KEY person_key
SOURCE(CLICKHOUSE(QUERY '
    SELECT
        bitXor(sipHash64(ids.distinct_id), sipHash64(ids.team_id)) AS person_key,
        argMax(ids.person_id, (ids.version, ids.is_deleted, ids.person_id)) AS person_id
    FROM posthog.person_distinct_id AS ids
    GROUP BY person_key
    HAVING (argMax(ids.is_deleted, (ids.version, ids.is_deleted)) = 0)
        AND (min(cityHash64(ids.team_id, ids.distinct_id)) = max(cityHash64(ids.team_id, ids.distinct_id)))'))
LAYOUT(HASHED())
LIFETIME(MIN 300 MAX 600)
