-- Purpose: versions of a table of persons, and its rows that conflict with the versions that
--          posthouse would publish.
-- Runs on: every node. Shape: rows, greatest, conflicting, least_conflicting, greatest_conflicting,
--          latest (seconds since 1970); numbers are 0 where no row counts.
{% set conflicts = 'version ' ~ operator ~ ' ' ~ bound ~ ' AND toUnixTimestamp(_timestamp) > ' ~ after -%}
SELECT
    count() AS rows,
    toUInt64(greatest(max(version), 0)) AS greatest,
    countIf({{ conflicts }}) AS conflicting,
    toUInt64(greatest(minIf(version, {{ conflicts }}), 0)) AS least_conflicting,
    toUInt64(greatest(maxIf(version, {{ conflicts }}), 0)) AS greatest_conflicting,
    toInt64(toUnixTimestamp(maxIf(_timestamp, {{ conflicts }}))) AS latest
FROM {{ database }}.{{ table }}
