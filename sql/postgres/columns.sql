-- Purpose: what a table's columns are, and which of them a deletion tells (its replica identity).
-- Runs on: PostgreSQL.
SELECT
    attribute.attname,
    attribute.atttypid,
    class.relreplident = 'f' OR coalesce(attribute.attnum = ANY (identity.indkey), false)
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
LEFT JOIN pg_index AS identity ON identity.indrelid = class.oid
    AND ((class.relreplident = 'd' AND identity.indisprimary) OR (class.relreplident = 'i' AND identity.indisreplident))
WHERE namespace.nspname = {{ schema }} AND class.relname = {{ table }}
    AND has_table_privilege(class.oid, 'SELECT')
ORDER BY attribute.attnum
