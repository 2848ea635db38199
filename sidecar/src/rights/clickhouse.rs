//! Rights of each command in ClickHouse.
//!
//! The page of permissions has these tables, and the integration tests run each command with a user
//! of exactly these rights, and with users that lack one of them.

/// The rights of one or more commands, besides those of the base.
#[derive(Debug)]
pub struct CommandRights {
    /// A short name for tests.
    pub name: &'static str,
    /// As a user writes them.
    pub commands: &'static str,
    /// Each for one `GRANT … TO user`. `DATABASE` stands for the config's database, `OTHER` for
    /// that of another consumer, and `BROKERS` for the named collection.
    pub grants: &'static [&'static str],
    /// Without one of these the command does less: the right, and the loss.
    pub optional: &'static [(&'static str, &'static str)],
}

/// Rights of every command that connects to ClickHouse. Rights to SHOW limit the objects that a
/// user sees, also those of other programs that write our tables.
pub const BASE: &[&str] = &["SHOW ON *.*", "SELECT ON system.clusters"];

/// Rights of an apply between the drop of a consumer or view and its creation.
pub(crate) const RIGHTS_OF_A_PAUSE: &[&str] = &[ROWS, DEFINITIONS, CONSUMERS];

/// Rights to detach and attach a consumer of another database.
pub(crate) const RIGHTS_OF_A_TAKEOVER: &str = "CREATE TABLE, DROP TABLE ON OTHER.*";

/// A view needs these on its source and on the table that it fills.
const ROWS: &str = "SELECT, INSERT ON DATABASE.*";
const DEFINITIONS: &str = "CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON DATABASE.*";
const CONSUMERS: &str = "TABLE ENGINE ON Kafka";
const UPGRADES: &str = "SELECT ON DATABASE.posthouse_upgrades";
const DETACHED: &str = "SELECT ON system.detached_tables";
const KEEPER: &str = "SELECT ON system.zookeeper";
const PERSON: &str = "SELECT ON DATABASE.person";
/// The table of the profile of a PostHog, and the view of the other name.
const DISTINCT_IDS: &str = "SELECT ON DATABASE.person_distinct_id2";
const DISTINCT_ID_VIEW: &str = "SELECT ON DATABASE.person_distinct_id";
const FILES: &str = "SELECT ON DATABASE.backfill_files";
const SHARDED_FILES: &str = "SELECT ON DATABASE.sharded_backfill_files";
const LEDGER: &str = "SELECT ON DATABASE.backfill_ledger";
const SHARDED_LEDGER: &str = "SELECT ON DATABASE.sharded_backfill_ledger";
const EVENTS: &str = "SELECT ON DATABASE.events";
const SHARDED_EVENTS: &str = "SELECT ON DATABASE.sharded_events";
const PRESSURE: (&str, &str) = (
    "SELECT ON system.parts, SELECT ON system.merges, SELECT ON system.merge_tree_settings, \
     SELECT ON system.disks, SELECT ON system.storage_policies, SELECT ON system.distribution_queue",
    "the load does not slow down for merges and full disks, and a warning says so",
);

/// The rows of the page, each without the rights of [`BASE`].
pub const CLICKHOUSE_RIGHTS: &[CommandRights] = &[
    CommandRights {
        name: "schema_plan",
        commands: "`schema plan`, `schema check`",
        grants: &[UPGRADES],
        optional: &[
            (
                "SHOW SETTINGS PROFILES ON *.*, SELECT ON system.settings_profile_elements",
                "settings of the nodes are not checked, and a note says so",
            ),
            (DETACHED, "a detached table counts as missing, and a warning says so"),
        ],
    },
    CommandRights {
        name: "schema_import",
        commands: "`schema import`",
        grants: &[UPGRADES, "READ ON REMOTE"],
        optional: &[],
    },
    CommandRights {
        name: "schema_apply",
        commands: "`schema apply`",
        grants: &[
            ROWS,
            "CREATE DATABASE, ALTER MODIFY DATABASE COMMENT ON DATABASE.*",
            DEFINITIONS,
            "ALTER TABLE ON DATABASE.*",
            "TABLE ENGINE ON *",
        ],
        optional: &[],
    },
    CommandRights {
        name: "schema_apply_distributed",
        commands: "`schema apply` of a Distributed table that is created again",
        grants: &[
            ROWS,
            DEFINITIONS,
            CONSUMERS,
            "TABLE ENGINE ON Distributed",
            "SYSTEM FLUSH DISTRIBUTED ON DATABASE.*",
        ],
        optional: &[],
    },
    CommandRights {
        name: "schema_apply_collection",
        commands: "`schema apply` of consumers with `kafka.named_collection`",
        grants: &[
            ROWS,
            DEFINITIONS,
            CONSUMERS,
            "SELECT ON system.named_collections",
            "SHOW NAMED COLLECTIONS ON BROKERS",
            "NAMED COLLECTION ON BROKERS",
        ],
        optional: &[],
    },
    CommandRights {
        name: "schema_adopt",
        commands: "`schema apply --adopt`, and `--hand-back`",
        grants: &[ROWS, DEFINITIONS, CONSUMERS, DETACHED, KEEPER, RIGHTS_OF_A_TAKEOVER],
        optional: &[],
    },
    CommandRights {
        name: "schema_materialize",
        commands: "`schema materialize`",
        grants: &[
            UPGRADES,
            "SELECT ON system.parts_columns",
            "SELECT ON system.mutations",
            "SELECT ON system.parts",
            "SELECT ON system.merges",
            "SELECT ON system.merge_tree_settings",
            "SELECT ON system.disks",
            "SELECT ON system.storage_policies",
            "SELECT ON system.distribution_queue",
            "ALTER MATERIALIZE COLUMN, ALTER MATERIALIZE INDEX ON DATABASE.sharded_events",
        ],
        optional: &[],
    },
    CommandRights {
        name: "topics_plan",
        commands: "`topics plan`, `apply`, `import`, and `schema unused-fields`",
        grants: &[],
        optional: &[],
    },
    CommandRights {
        name: "topics_groups",
        commands: "`topics groups`",
        grants: &[],
        optional: &[(KEEPER, "the group's offsets are shown instead of those in Keeper, and a note says so")],
    },
    CommandRights {
        name: "topics_check",
        commands: "`topics check`",
        grants: &[],
        optional: &[
            (
                "SELECT ON system.kafka_consumers",
                "the reason of a stall may be unknown, and a warning says so",
            ),
            ("SELECT ON system.errors", "the reason of a stall may be unknown, and a warning says so"),
            (KEEPER, "replicas in Keeper without a table are not found, and a warning says so"),
        ],
    },
    CommandRights {
        name: "topics_reset_plan",
        commands: "`topics reset` of the group of events",
        grants: &[UPGRADES, KEEPER],
        optional: &[],
    },
    CommandRights {
        name: "topics_reset",
        commands: "`topics reset --execute` of the group of events",
        grants: &[ROWS, DEFINITIONS, CONSUMERS, KEEPER],
        optional: &[],
    },
    CommandRights {
        name: "udf_install",
        commands: "`udf install`",
        grants: &["SELECT ON system.user_defined_functions", "SYSTEM RELOAD FUNCTION ON *.*"],
        optional: &[],
    },
    CommandRights {
        name: "udf_uninstall",
        commands: "`udf uninstall`",
        grants: &["SELECT ON system.user_defined_functions", "SYSTEM RELOAD FUNCTION ON *.*"],
        optional: &[],
    },
    CommandRights {
        name: "udf_list",
        commands: "`udf list`",
        grants: &["SELECT ON system.user_defined_functions"],
        optional: &[],
    },
    CommandRights { name: "udf_check", commands: "`udf check`", grants: &[], optional: &[] },
    CommandRights {
        name: "backfill_plan",
        commands: "`backfill plan`",
        grants: &[FILES, SHARDED_FILES, LEDGER, SHARDED_LEDGER],
        optional: &[],
    },
    CommandRights {
        name: "backfill_run",
        commands: "`backfill run` and `watch`, straight into the shards",
        grants: &[
            FILES,
            SHARDED_FILES,
            LEDGER,
            SHARDED_LEDGER,
            EVENTS,
            SHARDED_EVENTS,
            "INSERT ON DATABASE.backfill_files",
            "INSERT ON DATABASE.sharded_backfill_files",
            "INSERT ON DATABASE.sharded_backfill_ledger",
            "INSERT ON DATABASE.sharded_events",
        ],
        optional: &[PRESSURE],
    },
    CommandRights {
        name: "backfill_run_distributed",
        commands: "`backfill run --route distributed`",
        grants: &[
            FILES,
            SHARDED_FILES,
            LEDGER,
            SHARDED_LEDGER,
            EVENTS,
            SHARDED_EVENTS,
            "INSERT ON DATABASE.backfill_files",
            "INSERT ON DATABASE.sharded_backfill_files",
            "INSERT ON DATABASE.backfill_ledger",
            "INSERT ON DATABASE.sharded_backfill_ledger",
            "INSERT ON DATABASE.writable_events",
            "INSERT ON DATABASE.sharded_events",
        ],
        optional: &[PRESSURE],
    },
    CommandRights {
        name: "backfill_status",
        commands: "`backfill status`, `list`",
        grants: &[FILES, SHARDED_FILES, LEDGER, SHARDED_LEDGER],
        optional: &[],
    },
    CommandRights {
        name: "backfill_cancel",
        commands: "`backfill cancel`",
        grants: &[FILES, SHARDED_FILES, LEDGER, SHARDED_LEDGER, "INSERT ON DATABASE.sharded_backfill_ledger"],
        optional: &[],
    },
    CommandRights {
        name: "backfill_verify",
        commands: "`backfill verify`",
        grants: &[
            FILES,
            SHARDED_FILES,
            LEDGER,
            SHARDED_LEDGER,
            EVENTS,
            SHARDED_EVENTS,
            "INSERT ON DATABASE.sharded_backfill_ledger",
        ],
        optional: &[],
    },
    CommandRights {
        name: "backfill_undo_plan",
        commands: "`backfill undo`",
        grants: &[FILES, SHARDED_FILES, LEDGER, SHARDED_LEDGER, SHARDED_EVENTS, "SELECT ON system.mutations"],
        optional: &[],
    },
    CommandRights {
        name: "backfill_undo",
        commands: "`backfill undo --execute`",
        grants: &[
            FILES,
            SHARDED_FILES,
            LEDGER,
            SHARDED_LEDGER,
            SHARDED_EVENTS,
            "SELECT ON system.mutations",
            "INSERT ON DATABASE.sharded_backfill_ledger",
            "ALTER DELETE ON DATABASE.sharded_events",
            "SELECT ON system.processes",
            "SELECT ON system.merges",
            "SELECT ON system.parts",
            "SELECT ON system.merge_tree_settings",
            "SELECT ON system.disks",
            "SELECT ON system.storage_policies",
            "SELECT ON system.distribution_queue",
        ],
        optional: &[],
    },
    CommandRights {
        name: "persons_check",
        commands: "`persons check`",
        grants: &[PERSON, DISTINCT_IDS, DISTINCT_ID_VIEW],
        optional: &[],
    },
    CommandRights {
        name: "persons_snapshot_build",
        commands: "`persons snapshot build`",
        grants: &[DISTINCT_IDS],
        optional: &[],
    },
    CommandRights {
        name: "persons_snapshot_verify",
        commands: "`persons snapshot verify`",
        grants: &[DISTINCT_IDS],
        optional: &[],
    },
    CommandRights {
        name: "persons_run",
        commands: "`run` with `[persons.postgres]`, and its person index",
        grants: &[PERSON, DISTINCT_IDS, DISTINCT_ID_VIEW],
        optional: &[],
    },
    CommandRights {
        name: "persons_audit",
        commands: "`persons audit`, also with `--repair`",
        grants: &[PERSON, DISTINCT_IDS],
        optional: &[],
    },
    CommandRights {
        name: "persons_squash",
        commands: "`persons squash`",
        grants: &["SELECT ON DATABASE.person_distinct_id_overrides", SHARDED_EVENTS],
        optional: &[],
    },
    CommandRights {
        name: "persons_squash_all",
        commands: "`persons squash --all-distinct-ids`",
        grants: &[DISTINCT_IDS, SHARDED_EVENTS],
        optional: &[],
    },
    CommandRights {
        name: "persons_squash_apply",
        commands: "`persons squash --apply`",
        grants: &[
            "SELECT ON DATABASE.person_distinct_id_overrides",
            SHARDED_EVENTS,
            "SELECT, INSERT, TRUNCATE ON DATABASE.person_squash",
            "SELECT, INSERT, TRUNCATE ON DATABASE.person_squash_lookup",
            "ALTER UPDATE ON DATABASE.sharded_events",
            "ALTER DELETE ON DATABASE.person_distinct_id_overrides",
            "SELECT ON system.mutations",
            "SELECT ON system.parts",
            "SELECT ON system.merges",
            "SELECT ON system.merge_tree_settings",
            "SELECT ON system.disks",
            "SELECT ON system.storage_policies",
            "SELECT ON system.distribution_queue",
        ],
        optional: &[],
    },
];
