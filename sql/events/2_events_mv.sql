-- Purpose: turns valid messages into event rows.
-- Reads:   kafka_events.
-- Writes:  writable_events, which sends each row to its shard.
-- Runs on: every node.
{%- from 'events/conversions.sql' import value %}
CREATE MATERIALIZED VIEW {{ database }}.events_mv TO {{ database }}.writable_events
(
{% filter indent(4, true) %}{% include 'events/columns.sql' %}{% endfilter %}
)
AS SELECT
{%- for column in events.written %}
    {{ value(column) }} AS {{ column.ident }}{{ "," if not loop.last }}
{%- endfor %}
FROM
(
{% filter indent(4, true) %}{% set other_views = ['events_dead_letter_mv'] %}{% include 'events/message.sql' %}{% endfilter %}
)
WHERE {% include 'events/is_valid_event.sql' %}
