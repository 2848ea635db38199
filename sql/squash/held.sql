-- Purpose: rows of person_squash and of the lookup, which a squash compares between nodes. A lookup
--          with several keys can't be read, only counted.
-- Runs on: every node. Shape: taken, looked_up, sum.
SELECT
    (SELECT count() FROM {{ database }}.person_squash) AS taken,
    (SELECT assumeNotNull(total_rows) FROM system.tables WHERE (database = '{{ database }}') AND (name = 'person_squash_lookup')) AS looked_up,
    (SELECT sum(cityHash64(team_id, distinct_id, person_id, version)) FROM {{ database }}.person_squash) AS sum
