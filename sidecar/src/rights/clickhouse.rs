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
    /// Each for one `GRANT … TO user`. `DATABASE` stands for the config's database.
    pub grants: &'static [&'static str],
    /// Without one of these the command does less: the right, and the loss.
    pub optional: &'static [(&'static str, &'static str)],
}

/// Rights of every command that connects to ClickHouse. Rights to SHOW limit the objects that a
/// user sees, also those of other programs that write our tables.
pub const BASE: &[&str] = &["SHOW ON *.*", "SELECT ON system.clusters"];

/// Rights of an apply between the drop of a consumer and its creation.
pub(crate) const RIGHTS_OF_A_PAUSE: &[&str] =
    &["CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON DATABASE.*", "TABLE ENGINE ON Kafka"];

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
        grants: &["SELECT ON DATABASE.posthouse_upgrades"],
        optional: &[(
            "SHOW SETTINGS PROFILES ON *.*, SELECT ON system.settings_profile_elements",
            "settings of the nodes are not checked, and a note says so",
        )],
    },
    CommandRights {
        name: "schema_import",
        commands: "`schema import`",
        grants: &["SELECT ON DATABASE.posthouse_upgrades", "READ ON REMOTE"],
        optional: &[],
    },
    CommandRights {
        name: "schema_apply",
        commands: "`schema apply`",
        grants: &[
            "SELECT, INSERT ON DATABASE.*",
            "CREATE DATABASE, ALTER MODIFY DATABASE COMMENT ON DATABASE.*",
            "CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON DATABASE.*",
            "ALTER TABLE ON DATABASE.*",
            "TABLE ENGINE ON *",
        ],
        optional: &[],
    },
    CommandRights {
        name: "schema_materialize",
        commands: "`schema materialize`",
        grants: &[
            "SELECT ON DATABASE.posthouse_upgrades",
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
        commands: "`backfill status`, `list`, `cancel`",
        grants: &[FILES, SHARDED_FILES, LEDGER, SHARDED_LEDGER],
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
        name: "persons_squash",
        commands: "`persons squash`",
        grants: &["SELECT ON DATABASE.person_distinct_id_overrides", SHARDED_EVENTS],
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
