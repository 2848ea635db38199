{#- Definition shared by both consumers of persons. Offsets are in the group, which is at least
    once: a repeated row has the same version, and the greatest version wins. RawBLOB cannot fail. A
    block has the messages of one flush interval, at most 16,384: 32 MB of usual persons, and of
    persons with a megabyte each as many as the broker sends within the interval. By default a
    consumer without messages polls again after 500 ms, which is as long as the interval itself. -#}
(
    message String
)
{% include 'events/kafka_engine.sql' %}
    kafka_topic_list = '{{ topic }}',
    kafka_group_name = '{{ group }}',
    kafka_format = 'RawBLOB',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = {{ persons.flush_ms }},
    kafka_max_block_size = 16384,
    kafka_poll_max_batch_size = 4096,
    kafka_poll_timeout_ms = 50,
    kafka_consumer_reschedule_ms = 50
