-- Purpose: records each file that a backfill has started to load, with its settings, so that a file
--          that changed, or would be cut into other blocks, is recognized before it is loaded a
--          second time.
-- Reads:   records of posthouse backfill, inserted directly or through backfill_files.
-- Writes:  none.
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
