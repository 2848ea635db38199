topic String,
partition UInt64,
offset UInt64,
error String,
raw_message String,
_timestamp DateTime
