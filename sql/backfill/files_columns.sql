{#- Columns of a file's record, written before its first row. -#}
job String,
file String,
location String,
identity String,
mapping String,
mapping_fingerprint String,
team_id Nullable(Int64),
weights Array(UInt32),
slice_bytes UInt64,
unit_bytes UInt64,
rows UInt64,
bytes UInt64,
at DateTime64(3, 'UTC') DEFAULT now64(3)
