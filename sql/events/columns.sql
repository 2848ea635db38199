{#- The documented columns of an event and those of the config, the same in all event tables. -#}
uuid UUID,
event String,
properties String,
timestamp DateTime64(6, 'UTC'),
team_id Int64,
distinct_id String,
elements_hash String,
created_at DateTime64(6, 'UTC'),
_timestamp DateTime,
_offset UInt64,
elements_chain String
{%- for column in events.columns %},
`{{ column.name }}` {{ column.type }}
{%- endfor %}
