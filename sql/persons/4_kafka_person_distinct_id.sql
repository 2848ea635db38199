-- Purpose: the consumer of the distinct ids' topic; every message is one row with its bytes as they are.
-- Reads:   topic {{ persons.distinct_id_topic }}, as group {{ persons.distinct_id_group }}.
-- Writes:  person_distinct_id_mv and person_distinct_id_dead_letter_mv, which sort good messages from bad.
-- Runs on: every node; created last and dropped first, so that it never streams to one view without the other.
{% set topic = persons.distinct_id_topic %}{% set group = persons.distinct_id_group -%}
CREATE TABLE {{ database }}.kafka_person_distinct_id
{% include 'persons/consumer.sql' %}
