{#- Conversion of a message's fields, one macro for each use of a column. A column has `text` (its
    field, which the parser gives as text), `conversion`, `missing`, `invalid`, and `alias` (its
    parsed value; NULL for a missing or invalid field). Every expression is total, because an
    exception in a view makes the engine read the same block forever. -#}
{%- from 'events/timestamp.sql' import timestamp, timestamp_range, last_of_nanoseconds, first_second, last_second -%}
{%- from 'events/properties.sql' import properties -%}

{%- macro quoted(text) -%}
'{{ text | replace("'", "\\'") }}'
{%- endmacro -%}

{#- The parsed value, for conversions that have an alias. -#}
{%- macro parsed(column) -%}
{%- set kind = column.conversion.kind -%}
{%- if kind == 'uuid' -%}
toUUIDOrNull({{ column.text }})
{%- elif kind == 'integer' -%}
to{{ column.conversion.integer }}OrNull({{ column.text }})
{%- elif kind == 'timestamp' -%}
{#- With no digits the parser gives a DateTime, and every earlier time is 1970 (26.7). #}
{%- set digits = [column.conversion.digits, 1] | max -%}
{{ timestamp(column.text, digits, last=last_of_nanoseconds) if digits > 6 else timestamp(column.text, digits) }}
{%- elif kind == 'seconds' -%}
{{ timestamp(column.text, 1, first_second, last_second) }}
{%- elif kind == 'float' -%}
if(isFinite(to{{ column.conversion.float }}OrNull({{ column.text }})), to{{ column.conversion.float }}OrNull({{ column.text }}), NULL)
{%- elif kind == 'boolean' -%}
multiIf({{ column.text }} IN ('true', '1'), true, {{ column.text }} IN ('false', '0'), false, NULL)
{%- endif -%}
{%- endmacro -%}

{#- The column's value in an event. -#}
{%- macro value(column) -%}
{%- set kind = column.conversion.kind if column.conversion else '' -%}
{%- if column.origin == 'message_timestamp' -%}
{{ 'message_time' if column.type == 'DateTime' else 'CAST(message_time, ' ~ quoted(column.type) ~ ')' }}
{%- elif column.origin == 'partition' -%}
CAST(_partition, {{ quoted(column.type) }})
{%- elif column.origin == 'offset' -%}
_offset
{%- elif kind == 'properties' -%}
{{ properties() }}
{%- elif column.missing == 'dead_letter' -%}
assumeNotNull({{ column.alias or column.text }})
{%- elif column.missing == 'message_timestamp' -%}
ifNull({{ column.alias }}, toDateTime64(message_time, {{ column.conversion.digits }}, 'UTC'))
{%- elif kind == 'enumeration' -%}
{%- set known = "transform(ifNull(" ~ column.text ~ ", ''), " ~ column.names ~ ", " ~ column.numbers ~ ", " ~ column.conversion.least ~ ")" -%}
{%- if column.is_nullable -%}
CAST(if(ifNull({{ column.text }} IN {{ column.names }}, 0), CAST({{ known }}, {{ quoted(column.inner) }}), NULL), {{ quoted(column.type) }})
{%- else -%}
CAST({{ known }}, {{ quoted(column.type) }})
{%- endif -%}
{%- elif kind in ['string_array', 'string_map'] -%}
JSONExtract(ifNull({{ column.text }}, ''), {{ quoted(column.type) }})
{%- elif kind == 'parsed' -%}
{{ 'ifNull(' ~ column.text ~ ', defaultValueOfTypeName(' ~ quoted(column.type) ~ '))' if column.conversion.is_nullable else column.text }}
{%- elif column.is_nullable -%}
CAST({{ column.alias or column.text }}, {{ quoted(column.type) }})
{%- elif kind in ['text', 'json'] and column.type == 'String' -%}
ifNull({{ column.text }}, '')
{%- else -%}
CAST(ifNull({{ column.alias or column.text }}, defaultValueOfTypeName({{ quoted(column.inner) }})), {{ quoted(column.type) }})
{%- endif -%}
{%- endmacro -%}

{#- 1 if the message's field can be stored, else 0. -#}
{%- macro is_valid(column) -%}
{%- set kind = column.conversion.kind -%}
{%- if column.missing == 'dead_letter' -%}
isNotNull({{ column.alias or column.text }})
{%- elif kind == 'enumeration' -%}
(isNull({{ column.text }}) OR ifNull({{ column.text }} IN {{ column.names }}, 0))
{%- elif kind == 'string_array' -%}
(isNull({{ column.text }}) OR JSONType(ifNull({{ column.text }}, '')) = 'Array')
{%- elif kind == 'string_map' -%}
(isNull({{ column.text }}) OR JSONType(ifNull({{ column.text }}, '')) = 'Object')
{%- else -%}
(isNull({{ column.text }}) = isNull({{ column.alias }}))
{%- endif -%}
{%- endmacro -%}

{#- What a valid field is; empty for texts. -#}
{%- macro expected(column) -%}
{%- set kind = column.conversion.kind -%}
{%- if kind == 'uuid' -%}
a UUID
{%- elif kind == 'integer' -%}
{{ 'a 64-bit integer' if column.conversion.integer == 'Int64' else 'an integer of type ' ~ column.conversion.integer }}
{%- elif kind == 'timestamp' -%}
a date and time from {{ "1900-01-01 00:00:00 to " ~ last_of_nanoseconds ~ " UTC" if column.conversion.digits > 6 else timestamp_range }}
{%- elif kind == 'seconds' -%}
a date and time from {{ first_second }} to {{ last_second }} UTC
{%- elif kind == 'float' -%}
a number
{%- elif kind == 'boolean' -%}
true or false
{%- elif kind == 'enumeration' -%}
one of {{ column.conversion.names | join(', ') }}
{%- elif kind == 'string_array' -%}
a list
{%- elif kind == 'string_map' -%}
an object
{%- endif -%}
{%- endmacro -%}

{#- The reason of a dead letter, or an empty text. -#}
{%- macro reason(column) -%}
{%- set wanted = expected(column) -%}
{%- if column.missing == 'dead_letter' -%}
if({{ column.alias or column.text }} IS NULL, '{{ column.name }}: missing{{ " or not " ~ wanted if wanted }}', '')
{%- elif column.alias -%}
if(isNull({{ column.text }}) != isNull({{ column.alias }}), '{{ column.name }}: not {{ wanted }}', '')
{%- else -%}
if(NOT {{ is_valid(column) }}, '{{ column.name }}: not {{ wanted }}', '')
{%- endif -%}
{%- endmacro -%}
