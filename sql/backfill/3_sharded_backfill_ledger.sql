-- Purpose: the ledger of backfills on this shard, beside its rows: units that were started, blocks
--          that the shard has acknowledged with their rows and checksum, and units that are done.
-- Reads:   records of posthouse backfill, inserted directly or through backfill_ledger.
-- Writes:  none.
-- Runs on: every node; replicas of one shard share it.
--
-- It keeps blocks that have left the deduplication window of sharded_events. A record that is
-- written twice has the same content, so readers group by its key.
CREATE TABLE {{ database }}.sharded_backfill_ledger
(
{% filter indent(4, true) %}{% include 'backfill/ledger_columns.sql' %}{% endfilter %}
)
{%- if replicated %}
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{{ database }}.sharded_backfill_ledger', '{replica}')
{%- else %}
ENGINE = MergeTree
{%- endif %}
ORDER BY (file, unit, slice, month, state)
SETTINGS index_granularity = 8192
