-- Purpose: the table for inserts of events: picks the shard of each row and sends the row there.
--          Has no materialized columns.
-- Reads:   rows of events_mv and of backfills.
-- Writes:  sharded_events on the shard that sipHash64(distinct_id) and the weights select.
-- Runs on: every node.
CREATE TABLE {{ database }}.writable_events
(
{% filter indent(4, true) %}{% include 'events/columns.sql' %}{% endfilter %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_events', sipHash64(distinct_id))
