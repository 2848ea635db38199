{#- Each person as a key and the text of its columns in ClickHouse. Timestamps are clamped as in the
    initial snapshot. -#}
SELECT
    {{ id }} AS id,
    {{ team_id }}::text || ':' || {{ uuid }}::text AS key,
    coalesce({{ is_identified }}, false)::int::text
        || '|' || CASE
            WHEN {{ created_at }} IS NULL THEN '0'
            ELSE floor(least(greatest(extract(epoch FROM {{ created_at }}) * 1000, -2208988800000), 10413791999999))::bigint::text
        END
        || '|' || coalesce({{ properties }}::text, '{}') AS content
FROM {{ person }}
WHERE {{ team_id }} IS NOT NULL AND {{ uuid }} IS NOT NULL
{%- if is_deleted %}
    AND {{ is_deleted }} IS NOT TRUE
{%- endif %}
{%- if merged_into_id %}
    AND {{ merged_into_id }} IS NULL
{%- endif %}
