{#- What both consumers of persons have in common. Offsets live in the group, which is at least once: a row that comes again
    has the same version, and the greatest version is what counts. RawBLOB cannot fail. A block is what arrived within the
    flush, at most 16,384 messages: 32 MB of persons as they usually are, and of persons with a megabyte each as much as
    the broker sends within the flush. By default a consumer that found nothing looks again after 500 ms, which is as long as
    the flush itself. -#}
(
    message String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = '{{ kafka.brokers }}',
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
