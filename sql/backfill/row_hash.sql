{#- The hash of one row: all columns, the row id included. posthouse computes the same from the file
    (sidecar/src/backfill/shard/checksum.rs). Sums of it do not depend on the order of rows. -#}
xxh3(concat(
    reinterpretAsFixedString(uuid),
    reinterpretAsFixedString(team_id),
    reinterpretAsFixedString(toUnixTimestamp64Micro(timestamp)),
    reinterpretAsFixedString(toUnixTimestamp64Micro(created_at)),
    reinterpretAsFixedString(toUInt32(_timestamp)),
    reinterpretAsFixedString(_offset),
    reinterpretAsFixedString(xxh3(event)),
    reinterpretAsFixedString(xxh3(properties)),
    reinterpretAsFixedString(xxh3(distinct_id)),
    reinterpretAsFixedString(xxh3(elements_hash)),
    reinterpretAsFixedString(xxh3(elements_chain))))
