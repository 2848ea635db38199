-- Purpose: the table for queries: picks the shards and merges their answers. Lists materialized
--          columns as ordinary ones.
-- Reads:   sharded_events of every shard.
-- Writes:  none.
-- Runs on: every node.
CREATE TABLE {{ database }}.events
(
{% filter indent(4, true) %}{% include 'events/columns.sql' %}{% endfilter %}
{%- for column in events.materialized %},
    `{{ column.name }}` String
{%- endfor %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_events', sipHash64(distinct_id))
