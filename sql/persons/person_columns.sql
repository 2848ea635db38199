{#- The documented columns of a person. -#}
id UUID,
created_at DateTime64(3, 'UTC'),
team_id Int64,
properties String,
is_identified Int8,
is_deleted Int8,
version UInt64,
_timestamp DateTime,
_offset UInt64
