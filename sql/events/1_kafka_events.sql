-- Purpose: the consumers of the events topic. Every message is one row with its unchanged bytes.
-- Reads:   topic {{ events.topic }}, as group {{ events.group }}.
-- Writes:  events_mv for valid messages, events_dead_letter_mv for invalid ones.
-- Runs on: every node; created last and dropped first, so that it never streams to one view without
--          the other.
--
-- RawBLOB cannot fail, so the format loses no message. One poll is one block (immediate flush,
-- block size = poll size). A block that is read again therefore has the same messages, and the
-- deduplication window of sharded_events drops the rows that are already stored.
CREATE TABLE {{ database }}.kafka_events
(
    message String
)
{% include 'events/kafka_engine.sql' %}
    kafka_topic_list = '{{ events.topic }}',
    kafka_group_name = '{{ events.group }}',
    kafka_format = 'RawBLOB',
    kafka_num_consumers = {{ events.consumers }},
    kafka_thread_per_consumer = 1,
{%- if events.keeper_path %}
    kafka_keeper_path = '{{ events.keeper_path }}',
    kafka_replica_name = '{{ node.name }}',
    kafka_flush_interval_ms = 1,
{%- else %}
    kafka_flush_interval_ms = {{ events.poll_timeout_ms }},
{%- endif %}
    kafka_max_block_size = {{ events.batch_rows }},
    kafka_poll_max_batch_size = {{ events.batch_rows }},
    kafka_poll_timeout_ms = {{ events.poll_timeout_ms }}
