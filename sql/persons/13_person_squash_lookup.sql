-- Purpose: person_squash in memory, for the mutations of a squash.
-- Reads:   person_squash of this node.
-- Writes:  none.
-- Runs on: every node; empty between squashes.
CREATE TABLE {{ database }}.person_squash_lookup
(
    team_id Int64,
    distinct_id String,
    person_id UUID,
    version Int64
)
ENGINE = Join(ANY, LEFT, team_id, distinct_id)
