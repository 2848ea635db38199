-- Purpose: what queries read: picks the shards and merges their answers; lists materialized columns as ordinary ones.
-- Reads:   sharded_events of every shard.
-- Writes:  nothing.
-- Runs on: every node.
CREATE TABLE {{ database }}.events
(
{% filter indent(4, true) %}{% include 'events/columns.sql' %}{% endfilter %}
{%- for column in events.materialized %},
    `{{ column.name }}` String
{%- endfor %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_events', sipHash64(distinct_id))
