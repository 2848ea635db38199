-- Purpose: turns valid messages into event rows.
-- Reads:   kafka_events.
-- Writes:  writable_events, which sends each row to its shard.
-- Runs on: every node.
{%- from 'events/properties.sql' import properties %}
CREATE MATERIALIZED VIEW {{ database }}.events_mv TO {{ database }}.writable_events
(
{% filter indent(4, true) %}{% include 'events/columns.sql' %}{% endfilter %}
)
AS SELECT
    assumeNotNull(event_uuid) AS uuid,
    assumeNotNull(field.event) AS event,
    {{ properties() }} AS properties,
    assumeNotNull(event_timestamp) AS timestamp,
    assumeNotNull(event_team_id) AS team_id,
    assumeNotNull(field.distinct_id) AS distinct_id,
    ifNull(field.elements_hash, '') AS elements_hash,
    ifNull(event_created_at, toDateTime64(message_time, 6, 'UTC')) AS created_at,
    message_time AS _timestamp,
    _offset AS _offset,
    ifNull(field.elements_chain, '') AS elements_chain
{%- for column in events.columns %},
    {% include 'events/column_value.sql' %} AS `{{ column.name }}`
{%- endfor %}
FROM
(
{% filter indent(4, true) %}{% set other_view = 'events_dead_letter_mv' %}{% include 'events/message.sql' %}{% endfilter %}
)
WHERE {% include 'events/is_valid_event.sql' %}
