-- Purpose: the way in for every event row: picks the shard and sends the row there. Has no materialized columns.
-- Reads:   what events_mv and the backfill insert.
-- Writes:  sharded_events on the shard that sipHash64(distinct_id) and the weights name.
-- Runs on: every node.
CREATE TABLE {{ database }}.writable_events
(
{% filter indent(4, true) %}{% include 'events/columns.sql' %}{% endfilter %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_events', sipHash64(distinct_id))
