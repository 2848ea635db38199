{#- Keys of a block's messages for which `keys_where` holds. -#}
SELECT assumeNotNull(toInt64OrNull(key.team_id)), assumeNotNull(key.distinct_id)
FROM
(
    SELECT JSONExtract(message, 'Tuple(team_id Nullable(String), distinct_id Nullable(String), is_deleted Nullable(String), mapping Nullable(String))') AS key
    FROM {{ database }}.{{ kafka_table }}
)
WHERE isNotNull(toInt64OrNull(key.team_id)) AND isNotNull(key.distinct_id) AND ({{ keys_where }})
