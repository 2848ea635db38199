-- Purpose: the consumer of the person topic. Every message is one row with its unchanged bytes.
-- Reads:   topic {{ persons.topic }}, as group {{ persons.group }}.
-- Writes:  person_mv for valid messages, person_dead_letter_mv for invalid ones.
-- Runs on: every node; created last and dropped first, so that it never streams to one view without
--          the other.
{% set topic = persons.topic %}{% set group = persons.group -%}
CREATE TABLE {{ database }}.kafka_person
{% include 'persons/consumer.sql' %}
