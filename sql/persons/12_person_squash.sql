-- Purpose: the distinct ids whose current person a squash is writing into their events.
-- Reads:   rows of posthouse persons squash.
-- Writes:  none.
-- Runs on: every node, whole, like {{ persons.distinct_id_table }}; empty between squashes.
CREATE TABLE {{ database }}.person_squash
(
    team_id Int64,
    distinct_id String,
    person_id UUID,
    version Int64
)
{%- if replicated %}
ENGINE = ReplicatedMergeTree('/clickhouse/tables/noshard/{{ database }}.person_squash', '{shard}-{replica}')
{%- else %}
ENGINE = MergeTree
{%- endif %}
ORDER BY (team_id, distinct_id)
