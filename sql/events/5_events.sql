-- Purpose: the table for queries: picks the shards and merges their answers. Lists materialized
--          columns as ordinary ones.
-- Reads:   sharded_events of every shard.
-- Writes:  none.
-- Runs on: every node.
CREATE TABLE {{ database }}.events
(
{%- for column in events.all %}
    {{ column.ident }} {{ column.type }}{% if column.comment %} COMMENT '{{ column.comment }}'{% endif %}{{ "," if not loop.last }}
{%- endfor %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_events', sipHash64(distinct_id))
