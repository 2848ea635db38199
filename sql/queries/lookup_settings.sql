{#- Settings of a view over events and persons. For functions, blocks are ten times as large as usual,
    because each one waits for the function's process. A stored key is wrong in parts from before it
    if PREWHERE has several steps (ClickHouse#111757, fixed in 26.8). -#}
{%- if persons.lookup %}
SETTINGS max_block_size = 262144, preferred_block_size_bytes = 10000000
{{- ', enable_multiple_prewhere_read_steps = 0' if 'person_key' in persons.lookup }}
{{- ', optimize_skip_unused_shards = 1' if events.views_skip_unused_shards }}
{%- elif events.views_skip_unused_shards %}
SETTINGS optimize_skip_unused_shards = 1
{%- endif %}
