{#- The value of a column of the config. Every expression is total: a missing or invalid field gives
    the type's default. -#}
{%- from 'events/timestamp.sql' import timestamp -%}
{%- if column.value == 'message_timestamp' -%}
CAST(message_time, '{{ column.type | replace("'", "\\'") }}')
{%- elif column.value == 'partition' -%}
CAST(_partition, '{{ column.type | replace("'", "\\'") }}')
{%- elif column.digits is not none -%}
CAST(ifNull({{ timestamp("field.`" ~ column.field ~ "`", column.digits) }}, toDateTime64(0, {{ column.digits }}, 'UTC')), '{{ column.type | replace("'", "\\'") }}')
{%- elif column.nullable_in_json -%}
ifNull(field.`{{ column.field }}`, defaultValueOfTypeName('{{ column.type | replace("'", "\\'") }}'))
{%- else -%}
field.`{{ column.field }}`
{%- endif -%}
