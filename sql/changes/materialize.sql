-- Purpose: stores columns and their indexes in all parts of one partition. Answers at once; the
--          server works on as a mutation.
-- Runs on: one replica of each shard, on which no other mutation is in progress.
ALTER TABLE {{ database }}.sharded_events
{%- for column in columns %}
    MATERIALIZE COLUMN `{{ column }}` IN PARTITION ID '{{ partition }}'{% if not loop.last or indexes %},{% endif %}
{%- endfor %}
{%- for index in indexes %}
    MATERIALIZE INDEX `{{ index }}` IN PARTITION ID '{{ partition }}'{% if not loop.last %},{% endif %}
{%- endfor %}
