-- Purpose: the consumer of the persons' topic; every message is one row with its bytes as they are.
-- Reads:   topic {{ persons.topic }}, as group {{ persons.group }}.
-- Writes:  person_mv and person_dead_letter_mv, which sort good messages from bad.
-- Runs on: every node; created last and dropped first, so that it never streams to one view without the other.
{% set topic = persons.topic %}{% set group = persons.group -%}
CREATE TABLE {{ database }}.kafka_person
{% include 'persons/consumer.sql' %}
