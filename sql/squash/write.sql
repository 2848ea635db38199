-- Purpose: writes the current persons into the events of one partition, on all replicas of the
--          shard.
-- Runs on: a node of each shard. The lookup is the same on all replicas, and stays until they are
--          done, so every replica writes the same persons.
{%- set person = "joinGet('" ~ database ~ ".person_squash_lookup', 'person_id', team_id, distinct_id)" %}
ALTER TABLE {{ database }}.sharded_events
    UPDATE person_id = {{ person }} IN PARTITION ID '{{ partition }}'
    WHERE {{ person }} NOT IN (person_id, toUUID('00000000-0000-0000-0000-000000000000'))
