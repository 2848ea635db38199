-- Purpose: the files of every backfill of the cluster.
-- Reads:   sharded_backfill_files of every shard.
-- Writes:  the same, on the shard chosen by the hash of the file's location.
-- Runs on: every node.
CREATE TABLE {{ database }}.backfill_files
(
{% filter indent(4, true) %}{% include 'backfill/files_columns.sql' %}{% endfilter %}
)
ENGINE = Distributed('{{ cluster }}', '{{ database }}', 'sharded_backfill_files', sipHash64(location))
