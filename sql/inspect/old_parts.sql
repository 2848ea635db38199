-- Purpose: parts of sharded_events that lack one of these columns, by partition, with the bytes
--          that a statement reads to compute them. Newest partition first.
-- Runs on: one replica of each shard. Shape: partition, parts, rows, bytes.
WITH
    -- Names of columns, functions and texts in the expressions: more columns than are read at most.
    (
        SELECT groupUniqArrayArray(extractAll(default_expression, '[A-Za-z0-9_$]+'))
        FROM system.columns
        WHERE (database = {database:String}) AND (table = 'sharded_events') AND (name IN {columns:Array(String)})
    ) AS words
SELECT
    partition,
    count() AS parts,
    sum(part_rows) AS rows,
    sum(read_bytes) AS bytes
FROM
(
    SELECT
        partition_id AS partition,
        name,
        any(rows) AS part_rows,
        -- A compact part is read as a whole.
        if(
            any(part_type) = 'Wide',
            sumIf(column_data_compressed_bytes, has(words, column)),
            any(data_compressed_bytes)
        ) AS read_bytes
    FROM system.parts_columns
    WHERE active AND (database = {database:String}) AND (table = 'sharded_events') AND (rows > 0)
        AND (partition_id >= {since:String}) AND ({partition:String} IN ('', partition_id))
    GROUP BY partition, name
    HAVING NOT hasAll(groupArray(column), {columns:Array(String)})
)
GROUP BY partition
ORDER BY partition DESC
