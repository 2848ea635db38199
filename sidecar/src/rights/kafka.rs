//! Rights of each command in Kafka.
//!
//! The page of permissions has this table, and an integration test runs each command with a user of
//! exactly these rights, and with users that lack one of them.

use super::CommandRights;

const SEEN: &str = "Describe on topic TOPIC";
const CONFIGS: &str = "DescribeConfigs on topic TOPIC";
const LOCK: &str = "Read on group posthouse-topics";
const LOCK_TOPIC: &str = "Describe on topic __consumer_offsets";
const SCHEMA_LOCK: &str = "Read on group posthouse-schema-DATABASE";
const SQUASH_LOCK: &str = "Read on group posthouse-squash-DATABASE";
const EVENTS_GROUP: &str = "Describe on group EVENTS_GROUP";
const PERSON_GROUP: &str = "Describe on group PERSON_GROUP";
const DISTINCT_ID_GROUP: &str = "Describe on group DISTINCT_ID_GROUP";
const UNSEEN: (&str, &str) = (SEEN, "the topic does not exist for posthouse, so the plan creates it");

/// The rows of the page. A right is an operation on a resource. Read, Write, Delete and Alter
/// include Describe, and AlterConfigs includes DescribeConfigs.
pub const KAFKA_RIGHTS: &[CommandRights] = &[
    CommandRights {
        name: "topics_plan",
        commands: "`topics plan`, `topics import`, `run` with `topics.reconcile = \"check\"`",
        grants: &[CONFIGS],
        optional: &[UNSEEN, ("Describe on cluster", "the bytes that a change frees are unknown")],
    },
    CommandRights {
        name: "topics_groups",
        commands: "`topics groups`, and the readers of a topic that a plan deletes",
        grants: &[EVENTS_GROUP, PERSON_GROUP, DISTINCT_ID_GROUP],
        optional: &[
            ("Describe on group GROUP", "another group is not seen"),
            (SEEN, "the other group's lag is not seen"),
            ("Read on topic TOPIC", "the age of the oldest unread message is unknown"),
        ],
    },
    CommandRights {
        name: "topics_create",
        commands: "`topics apply`, of a new topic",
        grants: &[LOCK, LOCK_TOPIC, "Create on topic TOPIC", SEEN, CONFIGS],
        optional: &[],
    },
    CommandRights {
        name: "topics_partitions",
        commands: "`topics apply`, of more partitions",
        grants: &[LOCK, LOCK_TOPIC, CONFIGS, "Alter on topic TOPIC"],
        optional: &[],
    },
    CommandRights {
        name: "topics_configs",
        commands: "`topics apply`, of other configs",
        grants: &[LOCK, LOCK_TOPIC, SEEN, "AlterConfigs on topic TOPIC"],
        optional: &[],
    },
    CommandRights {
        name: "topics_delete",
        commands: "`topics apply`, of a deletion",
        grants: &[LOCK, LOCK_TOPIC, "Delete on topic TOPIC"],
        optional: &[("Describe on group GROUP", "a reader of the topic is not seen")],
    },
    CommandRights {
        name: "topics_reset",
        commands: "`topics reset --execute`",
        grants: &[LOCK, LOCK_TOPIC, "Read on group GROUP", "Read on topic TOPIC"],
        optional: &[],
    },
    CommandRights {
        name: "schema_apply",
        commands: "`schema apply`",
        grants: &[SCHEMA_LOCK, LOCK_TOPIC],
        optional: &[],
    },
    CommandRights {
        name: "schema_adopt",
        commands: "`schema apply --adopt`",
        grants: &[SCHEMA_LOCK, LOCK_TOPIC, EVENTS_GROUP, "Describe on topic EVENTS"],
        optional: &[],
    },
    CommandRights {
        name: "schema_hand_back",
        commands: "`schema apply --hand-back`",
        grants: &[SCHEMA_LOCK, LOCK_TOPIC, "Read on group EVENTS_GROUP", "Read on topic EVENTS"],
        optional: &[],
    },
    CommandRights {
        name: "persons_run",
        commands: "`run` with `[persons]`",
        grants: &[
            "Create on topic STATE",
            "Read on topic STATE",
            "Write on topic STATE",
            "Write on topic PERSON",
            "Write on topic DISTINCT_ID",
        ],
        optional: &[
            ("Read on topic PERSON", "messages of another producer are not found, and a warning says so"),
            (
                "Read on topic DISTINCT_ID",
                "messages of another producer are not found, and a warning says so",
            ),
        ],
    },
    CommandRights {
        name: "persons_check",
        commands: "`persons check`",
        grants: &["Read on topic PERSON", "Read on topic DISTINCT_ID", "Read on topic STATE"],
        optional: &[],
    },
    CommandRights {
        name: "persons_audit",
        commands: "`persons audit`, and audits of `run`",
        grants: &[
            PERSON_GROUP,
            DISTINCT_ID_GROUP,
            "Describe on topic PERSON",
            "Describe on topic DISTINCT_ID",
        ],
        optional: &[],
    },
    CommandRights {
        name: "persons_audit_repair",
        commands: "`persons audit --repair`",
        grants: &[
            PERSON_GROUP,
            DISTINCT_ID_GROUP,
            "Read on topic STATE",
            "Write on topic PERSON",
            "Write on topic DISTINCT_ID",
        ],
        optional: &[],
    },
    CommandRights {
        name: "persons_snapshot_build",
        commands: "`persons snapshot build` with `persons.index = \"keep\"`",
        grants: &[DISTINCT_ID_GROUP, "Describe on topic DISTINCT_ID"],
        optional: &[],
    },
    CommandRights {
        name: "person_index",
        commands: "`run` with `persons.index = \"keep\"` on a node with functions",
        grants: &[DISTINCT_ID_GROUP, "Read on topic DISTINCT_ID"],
        optional: &[],
    },
    CommandRights {
        name: "persons_squash_apply",
        commands: "`persons squash --apply`",
        grants: &[
            SQUASH_LOCK,
            LOCK_TOPIC,
            EVENTS_GROUP,
            PERSON_GROUP,
            DISTINCT_ID_GROUP,
            "Describe on topic EVENTS",
        ],
        optional: &[],
    },
    CommandRights {
        name: "persons_squash_unread",
        commands: "`persons squash --apply` while events are unread",
        grants: &[
            SQUASH_LOCK,
            LOCK_TOPIC,
            EVENTS_GROUP,
            PERSON_GROUP,
            DISTINCT_ID_GROUP,
            "Read on topic EVENTS",
        ],
        optional: &[],
    },
    CommandRights { name: "none", commands: "`backfill`, `udf`", grants: &[], optional: &[] },
];
