{#- One step of a load on one shard. Rows are only added. -#}
job String,
file String,
unit String,
shard UInt32,
slot UInt32,
state Enum8('begun' = 1, 'stored' = 2, 'done' = 3, 'cancelled' = 4, 'proven' = 5, 'undoing' = 6, 'undone' = 7),
slice UInt64,
month UInt32,
rows UInt64,
checksum UInt64,
rejected UInt64,
at DateTime64(3, 'UTC') DEFAULT now64(3)
