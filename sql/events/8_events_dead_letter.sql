-- Purpose: every dead letter of the cluster, from any node.
-- Reads:   sharded_events_dead_letter of every shard.
-- Writes:  the same. Topic, partition and offset pick the shard, so that a block that another node
--          reads again after a crash meets the deduplication window that has its first copy.
-- Runs on: every node.
CREATE TABLE {{ database }}.events_dead_letter
(
{% filter indent(4, true) %}{% include 'events/dead_letter_columns.sql' %}{% endfilter %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_events_dead_letter', sipHash64(topic, partition, offset))
