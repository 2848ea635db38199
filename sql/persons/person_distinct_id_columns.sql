{#- The documented columns of a distinct id. -#}
team_id Int64,
distinct_id String,
person_id UUID,
is_deleted Int8,
version Int64,
_timestamp DateTime,
_offset UInt64
