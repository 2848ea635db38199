-- Purpose: compares shardKey and shardOf with the server's built-ins on generated distinct ids.
-- Runs on: every node, once for each list of shard weights. Shape: one row with counts and the
--          first differing ids.
WITH
    {weights:Array(UInt32)} AS weights,
    -- The first slot after each shard's slots. As in ClickHouse, each shard in order owns as many
    -- slots as its weight.
    arrayCumSum(weights) AS ends,
    -- Repeatable by the seed. A quarter are typical ids, one in a thousand is long, the others are
    -- 0 to 63 bytes of any value, mostly not UTF-8.
    generated AS
    (
        SELECT
            multiIf(
                number % 1000 = 7, repeat(concat('é', toString(number)), 500),
                number % 4 = 0, concat('user-', toString(sipHash64({seed:UInt64}, number))),
                substring(
                    concat(
                        sipHash128({seed:UInt64}, number, 1),
                        sipHash128({seed:UInt64}, number, 2),
                        sipHash128({seed:UInt64}, number, 3),
                        sipHash128({seed:UInt64}, number, 4)
                    ),
                    1,
                    sipHash64({seed:UInt64}, number) % 64
                )
            ) AS distinct_id
        FROM numbers({rows:UInt64})
    ),
    compared AS
    (
        SELECT
            distinct_id,
            shardKey(distinct_id) AS key,
            sipHash64(distinct_id) AS expected_key,
            shardOf(distinct_id, weights) AS shard,
            arrayFirstIndex(end -> expected_key % arraySum(weights) < end, ends) AS expected_shard,
            key != expected_key OR shard != expected_shard AS differs
        FROM generated
    )
SELECT
    count() AS rows,
    countIf(empty(distinct_id)) AS empty_ids,
    countIf(NOT isValidUTF8(distinct_id)) AS not_utf8,
    countIf(differs) AS differing,
    groupArrayIf(5)(
        CAST(
            (hex(distinct_id), key, expected_key, shard, expected_shard),
            'Tuple(distinct_id_hex String, key UInt64, expected_key UInt64, shard UInt32, expected_shard UInt32)'
        ),
        differs
    ) AS first
FROM compared
