-- Purpose: the next rows of a range of primary keys.
-- Runs on: PostgreSQL.
SELECT {{ columns }} FROM {{ table }} WHERE {{ id }} >= {{ from }} AND {{ id }} <= {{ to }} ORDER BY {{ id }} LIMIT {{ limit }}
