-- Purpose: the answers of the functions to the examples of the registry, each with its type.
-- Runs on: every node with the functions. Shape: data_type, answer; one row for each example, in
--          their order.
SELECT
    data_type,
    answer
FROM
(
{%- for example in examples %}
    {%- if not loop.first %}
    UNION ALL
    {%- endif %}
    SELECT
        {{ loop.index }} AS number,
        toTypeName({{ example.call }}) AS data_type,
        ifNull(toString({{ example.call }}), 'NULL') AS answer
{%- endfor %}
)
ORDER BY number
