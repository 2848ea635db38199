-- Purpose: adds records to the ledger.
-- Runs on: a node of the shard (sharded_backfill_ledger), or any node (backfill_ledger).
INSERT INTO {{ database }}.{{ table }} FORMAT JSONEachRow
