{#- Versions of distinct ids with what is known of their persons: all `persons` of the table, for
    messages for which `read_where` holds, and whether a version of the block `changes` an earlier
    person. A deletion without a person has the last one of the block or of the table, so that
    deleted persons are not counted as one. A message says whether its row was new, changed or copied
    by a snapshot. Other producers count versions from 0, and a changed row has a higher one; from
    4,294,967,295 on versions are positions in the WAL. A view reads its own block wherever it names
    its source, so the keys are no second read of the topic. -#}
{%- set nobody = "toUUID('00000000-0000-0000-0000-000000000000')" -%}
SELECT
    versions.team_id AS team_id,
    versions.distinct_id AS distinct_id,
    multiIf(
        versions.person_id != {{ nobody }}, versions.person_id,
        versions.block_person != {{ nobody }}, versions.block_person,
        ifNull(history.last_person, {{ nobody }})) AS person_id,
    versions.is_deleted AS is_deleted,
    versions.version AS version,
    versions._timestamp AS _timestamp,
    versions._offset AS _offset,
    versions.mapping AS mapping,
    versions.changes AS changes,
    history.persons AS persons
FROM
(
    SELECT
        *,
        argMaxIf(person_id, version, person_id != {{ nobody }}) OVER (PARTITION BY team_id, distinct_id) AS block_person,
        max((mapping = 'changed') OR (is_deleted = 1) OR ((mapping != 'new') AND (version > 0) AND (version < 4294967295)))
            OVER (PARTITION BY team_id, distinct_id) AS changes
    FROM
    (
{% filter indent(8, true) %}{% set more = ",\n    message_mapping AS mapping" %}{% include 'persons/distinct_id_versions.sql' %}{% endfilter %}
    )
) AS versions
LEFT ANY JOIN
(
    SELECT
        stored.team_id AS team_id,
        stored.distinct_id AS distinct_id,
        argMax(stored.person_id, stored.version) AS last_person,
        groupUniqArray(stored.person_id) AS persons
    FROM {{ database }}.{{ persons.distinct_id_table }} AS stored
    WHERE ((stored.team_id, stored.distinct_id) IN ({% filter indent(8) %}{% set keys_where = read_where %}{% include 'persons/distinct_id_keys.sql' %}{% endfilter %}))
        AND (stored.person_id != {{ nobody }})
    GROUP BY stored.team_id, stored.distinct_id
) AS history ON (history.team_id = versions.team_id) AND (history.distinct_id = versions.distinct_id)
