-- Purpose: the ledger of the whole cluster.
-- Reads:   sharded_backfill_ledger of every shard.
-- Writes:  the same; a record's slot is one that its shard owns, so that it lands beside the rows it speaks of.
-- Runs on: every node.
CREATE TABLE {{ database }}.backfill_ledger
(
{% filter indent(4, true) %}{% include 'backfill/ledger_columns.sql' %}{% endfilter %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_backfill_ledger', slot)
