-- Purpose: the ledger of backfills on this shard: which units were begun, which blocks the shard has acknowledged, with
--          their rows and checksum, and which units are done. It stands beside the rows it speaks of.
-- Reads:   what posthouse backfill records, straight or through backfill_ledger.
-- Writes:  nothing.
-- Runs on: every node; replicas of one shard share it.
--
-- It remembers what the deduplication window of sharded_events has forgotten. A record that is written twice says the same
-- twice: whoever reads it groups by its key.
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
