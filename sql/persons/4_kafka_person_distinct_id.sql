-- Purpose: the consumer of the distinct id topic. Every message is one row with its unchanged
--          bytes.
-- Reads:   topic {{ persons.distinct_id_topic }}, as group {{ persons.distinct_id_group }}.
-- Writes:  person_distinct_id_mv for valid messages, person_distinct_id_dead_letter_mv for invalid
--          ones.
-- Runs on: every node; created last and dropped first, so that it never streams to one view without
--          the other.
{% set topic = persons.distinct_id_topic %}{% set group = persons.distinct_id_group -%}
CREATE TABLE {{ database }}.kafka_person_distinct_id
{% include 'persons/consumer.sql' %}
