{#- Each person as a key and a text of what ClickHouse holds of it. Times are clamped as the copy clamps them. -#}
SELECT
    {{ team_id }}::text || ':' || {{ uuid }}::text AS key,
    coalesce({{ is_identified }}, false)::int::text
        || '|' || coalesce(floor(least(greatest(extract(epoch FROM {{ created_at }}) * 1000, -2208988800000), 10413791999999)), 0)::bigint::text
        || '|' || coalesce({{ properties }}::text, '{}') AS content
FROM {{ person }}
WHERE {{ team_id }} IS NOT NULL AND {{ uuid }} IS NOT NULL
