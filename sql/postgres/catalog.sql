-- Purpose: the state of the source as one JSON text: server, role, both tables with the leaves of
--          partitioned ones, publication, slot, prepared transactions.
-- Runs on: PostgreSQL 14 and later. Columns of later versions are read through to_jsonb, which
--          omits them in earlier ones.
SELECT json_build_object(
    'server', json_build_object(
        'version', current_setting('server_version_num')::int,
        'wal_level', current_setting('wal_level'),
        'is_standby', pg_is_in_recovery(),
        'max_slots', current_setting('max_replication_slots')::int,
        'slots', (SELECT count(*) FROM pg_replication_slots),
        'max_senders', current_setting('max_wal_senders')::int,
        'senders', (SELECT count(*) FROM pg_stat_replication)),
    'role', (
        SELECT json_build_object(
            'name', rolname,
            -- RDS gives the right by membership.
            'may_replicate', rolsuper OR rolreplication OR EXISTS (
                SELECT FROM pg_roles AS other WHERE other.rolname = 'rds_replication' AND pg_has_role(other.oid, 'MEMBER')),
            'may_create', has_database_privilege(current_database(), 'CREATE'))
        FROM pg_roles
        WHERE rolname = current_user),
    'tables', (
        SELECT coalesce(json_agg(json_build_object(
            'schema', namespace.nspname,
            'name', root.relname,
            'oid', root.oid::bigint,
            'kind', root.relkind::text,
            'may_use_schema', has_schema_privilege(namespace.oid, 'USAGE'),
            'is_owner', pg_has_role(root.relowner, 'USAGE'),
            'has_row_security', row_security_active(root.oid),
            'columns', (
                SELECT coalesce(json_agg(json_build_object(
                    'name', attribute.attname,
                    'type_id', attribute.atttypid::bigint,
                    'is_not_null', attribute.attnotnull,
                    'may_select', has_column_privilege(root.oid, attribute.attnum, 'SELECT')) ORDER BY attribute.attnum), '[]')
                FROM pg_attribute AS attribute
                WHERE attribute.attrelid = root.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped),
            'unique', (
                SELECT coalesce(json_agg((
                    SELECT json_agg(attribute.attname)
                    FROM pg_attribute AS attribute
                    WHERE attribute.attrelid = root.oid
                        AND attribute.attnum = ANY ((entry.indkey::int2[])[0:entry.indnkeyatts - 1]))), '[]')
                FROM pg_index AS entry
                WHERE entry.indrelid = root.oid AND entry.indisunique AND entry.indisvalid AND entry.indpred IS NULL
                    AND entry.indexprs IS NULL),
            'references', (
                SELECT coalesce(json_agg(constraints.confrelid::bigint), '[]')
                FROM pg_constraint AS constraints
                WHERE constraints.conrelid = root.oid AND constraints.contype = 'f' AND constraints.convalidated),
            'leaves', (
                SELECT coalesce(json_agg(json_build_object(
                    'schema', leaf_namespace.nspname,
                    'name', leaf.relname,
                    'kind', leaf.relkind::text,
                    'oid', leaf.oid::bigint,
                    'file', leaf.relfilenode::bigint,
                    'first_of_indexes', (
                        SELECT coalesce(json_agg(attribute.attname), '[]')
                        FROM pg_index AS entry
                        JOIN pg_attribute AS attribute ON attribute.attrelid = leaf.oid AND attribute.attnum = entry.indkey[0]
                        WHERE entry.indrelid = leaf.oid AND entry.indisvalid AND entry.indpred IS NULL),
                    'identity', (
                        SELECT coalesce(json_agg(attribute.attname), '[]')
                        FROM pg_attribute AS attribute
                        LEFT JOIN pg_index AS identity ON identity.indrelid = leaf.oid
                            AND ((leaf.relreplident = 'd' AND identity.indisprimary)
                                OR (leaf.relreplident = 'i' AND identity.indisreplident))
                        WHERE attribute.attrelid = leaf.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
                            AND (leaf.relreplident = 'f' OR coalesce(
                                attribute.attnum = ANY ((identity.indkey::int2[])[0:identity.indnkeyatts - 1]), false)))
                    ) ORDER BY leaf_namespace.nspname, leaf.relname), '[]')
                FROM
                (
                    SELECT root.oid AS relid WHERE root.relkind <> 'p'
                    UNION ALL
                    SELECT tree.relid FROM pg_partition_tree(root.oid) AS tree WHERE tree.isleaf AND tree.relid <> root.oid
                ) AS tree
                JOIN pg_class AS leaf ON leaf.oid = tree.relid
                JOIN pg_namespace AS leaf_namespace ON leaf_namespace.oid = leaf.relnamespace)
            )), '[]')
        FROM pg_class AS root
        JOIN pg_namespace AS namespace ON namespace.oid = root.relnamespace
        WHERE (namespace.nspname, root.relname) IN (({{ person_schema }}, {{ person_table }}), ({{ distinct_id_schema }}, {{ distinct_id_table }}))
            AND root.relkind NOT IN ('i', 'I', 'S', 't', 'c')),
    'publication', (
        SELECT json_build_object(
            'oid', publication.oid::bigint,
            'entries', (
                SELECT coalesce(json_agg(entry.oid::bigint ORDER BY entry.oid), '[]')
                FROM pg_publication_rel AS entry
                JOIN pg_class AS root ON root.oid = entry.prrelid
                JOIN pg_namespace AS namespace ON namespace.oid = root.relnamespace
                WHERE entry.prpubid = publication.oid AND (namespace.nspname, root.relname) IN (
                    ({{ person_schema }}, {{ person_table }}), ({{ distinct_id_schema }}, {{ distinct_id_table }}))),
            'has_all_kinds', publication.pubinsert AND publication.pubupdate AND publication.pubdelete AND publication.pubtruncate,
            'via_root', publication.pubviaroot,
            'tables', (
                SELECT coalesce(json_agg(json_build_object(
                    'schema', published.schemaname,
                    'name', published.tablename,
                    'columns', to_jsonb(published) -> 'attnames',
                    'filter', to_jsonb(published) ->> 'rowfilter')), '[]')
                FROM pg_publication_tables AS published
                WHERE published.pubname = publication.pubname))
        FROM pg_publication AS publication
        WHERE publication.pubname = {{ publication }}),
    'slot', (
        SELECT json_build_object(
            'plugin', coalesce(slot.plugin, ''),
            'database', coalesce(slot.database, ''),
            'is_active', slot.active,
            'is_lost', coalesce(slot.wal_status, '') = 'lost',
            'invalidation_reason', to_jsonb(slot) ->> 'invalidation_reason',
            'is_temporary', slot.temporary,
            'is_two_phase', coalesce((to_jsonb(slot) ->> 'two_phase')::boolean, false))
        FROM pg_replication_slots AS slot
        WHERE slot.slot_name = {{ slot }}),
    'prepared', (
        SELECT coalesce(json_agg(json_build_object(
            'name', gid,
            'database', database,
            'owner', owner,
            'seconds', extract(epoch FROM now() - prepared)::bigint) ORDER BY prepared), '[]')
        FROM pg_prepared_xacts))
