{#- The engine of a Kafka table with its brokers, which are listed or in a named collection. The
    settings of a table take precedence over those of its collection. -#}
ENGINE = Kafka{% if kafka.named_collection %}({{ kafka.named_collection }}){% endif %}
SETTINGS
{%- if not kafka.named_collection %}
    kafka_broker_list = '{{ kafka.brokers }}',
{%- endif %}
