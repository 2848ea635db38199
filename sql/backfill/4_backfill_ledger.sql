-- Purpose: the ledger of the whole cluster.
-- Reads:   sharded_backfill_ledger of every shard.
-- Writes:  the same. A record's slot is one of its shard's own, so that the record is stored beside
--          the rows that it describes.
-- Runs on: every node.
CREATE TABLE {{ database }}.backfill_ledger
(
{% filter indent(4, true) %}{% include 'backfill/ledger_columns.sql' %}{% endfilter %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_backfill_ledger', slot)
