-- Purpose: stores one block of history: rows of one shard and one month, which make one part.
-- Runs on: a node of the shard (sharded_events), or any node (writable_events).
INSERT INTO {{ database }}.{{ table }} (uuid, event, properties, timestamp, team_id, distinct_id, elements_hash, created_at, _timestamp, _offset, elements_chain{% for name in extras %}, `{{ name }}`{% endfor %}) FORMAT Native
