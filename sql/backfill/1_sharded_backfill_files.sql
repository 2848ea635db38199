-- Purpose: remembers each file that a backfill has begun to load, and how: a file that changed, or that would be cut into
--          other blocks, is recognised before it is loaded once more.
-- Reads:   what posthouse backfill records, straight or through backfill_files.
-- Writes:  nothing.
-- Runs on: every node; replicas of one shard share it.
CREATE TABLE {{ database }}.sharded_backfill_files
(
{% filter indent(4, true) %}{% include 'backfill/files_columns.sql' %}{% endfilter %}
)
{%- if replicated %}
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{{ database }}.sharded_backfill_files', '{replica}')
{%- else %}
ENGINE = MergeTree
{%- endif %}
ORDER BY (location, job)
SETTINGS index_granularity = 8192
