//! Rules for the settings of the server's profile.

use std::collections::BTreeMap;

use super::{SettingFinding, SettingSeverity};
use crate::config::Config;

/// Partitions of `sharded_events` and of its dead letters: the months from 2020 to 2035.
const MONTHS: f64 = 192.0;
/// Size in bytes of a block of messages and of the rows made of them that no limit may
/// refuse: librdkafka's queue of 64 MiB, the messages that arrive within a poll, and the same
/// size for the rows.
const MAX_BLOCK_BYTES: f64 = (1_u64 << 30) as f64;
/// Views read a block's rows as messages, and a second time as the rows made of them.
const READS_OF_A_ROW: f64 = 2.0;
/// Time to store a block on all shards.
const MAX_BLOCK_SECONDS: f64 = 60.0;

/// Major and minor version of ClickHouse that computes missing columns after several steps of
/// PREWHERE (ClickHouse#111795).
const COMPUTES_MISSING_COLUMNS: (u32, u32) = (26, 8);

/// Values by the name of the setting, and the server's version by [`VERSION`].
type SettingValues = BTreeMap<String, String>;

/// Name of the server's version among the values.
const VERSION: &str = "version()";

/// A condition on one or several settings.
pub(super) struct SettingRule {
    /// Settings that the condition reads; the first is the one to change.
    pub(super) settings: &'static [&'static str],
    desired: &'static str,
    is_met: fn(&Config, &SettingValues) -> bool,
    consequence: &'static str,
    severity: SettingSeverity,
}

pub(super) const RULES: &[SettingRule] = &[
    SettingRule {
        settings: &["max_partitions_per_insert_block", "throw_on_max_partitions_per_insert_block"],
        desired: "192 or more, or 0",
        is_met: |_, values| {
            let throws = number(values, "throw_on_max_partitions_per_insert_block") != Some(0.0);
            !throws || is_limit(values, "max_partitions_per_insert_block", MONTHS)
        },
        consequence: "a block with events of more months is replayed forever, and no later message arrives",
        // The server's default is 100. Only device clocks or imports of years exceed it.
        severity: SettingSeverity::Note,
    },
    SettingRule {
        settings: &["deduplicate_insert", "insert_deduplicate"],
        desired: "enable",
        is_met: |_, values| match values.get("deduplicate_insert").map(String::as_str) {
            // Engines before 26 have only the other setting.
            None | Some("backward_compatible_choice") => number(values, "insert_deduplicate") != Some(0.0),
            Some(choice) => choice == "enable",
        },
        consequence: "a block that is replayed after a crash is stored twice",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["insert_shard_id"],
        desired: "0",
        is_met: |_, values| is_zero(values, "insert_shard_id"),
        consequence: "all events go to one shard, whatever their distinct_id",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["limit"],
        desired: "0",
        is_met: |_, values| is_zero(values, "limit"),
        consequence: "the messages of a block beyond it are lost",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["offset"],
        desired: "0",
        is_met: |_, values| is_zero(values, "offset"),
        consequence: "the first messages of every block are lost",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["materialized_views_ignore_errors"],
        desired: "0",
        is_met: |_, values| is_zero(values, "materialized_views_ignore_errors"),
        consequence: "a block that a shard rejects is lost instead of replayed",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["max_rows_to_read"],
        desired: "0, or twice batch_rows or more",
        is_met: |config, values| {
            is_limit(values, "max_rows_to_read", f64::from(config.events.batch_rows) * READS_OF_A_ROW)
        },
        consequence: "a larger block is replayed forever, and no later message arrives",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["max_bytes_to_read"],
        desired: "0, or 1 GiB or more",
        is_met: |_, values| is_limit(values, "max_bytes_to_read", MAX_BLOCK_BYTES),
        consequence: "a larger block is replayed forever, and no later message arrives",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["max_execution_time"],
        desired: "0, or 60 or more",
        is_met: |_, values| is_limit(values, "max_execution_time", MAX_BLOCK_SECONDS),
        consequence: "a block that takes longer is replayed forever, and no later message arrives",
        severity: SettingSeverity::Fault,
    },
    SettingRule {
        settings: &["distributed_foreground_insert"],
        desired: "1",
        is_met: |_, values| !is_zero(values, "distributed_foreground_insert"),
        consequence: "offsets advance while rows are on the disk of the node that read them: a lost disk loses them",
        severity: SettingSeverity::Note,
    },
    // Users' profiles can't be known; most inherit from this one.
    SettingRule {
        settings: &["optimize_skip_unused_shards"],
        desired: "1",
        is_met: |config, values| is_one_shard(config) || !is_zero(values, "optimize_skip_unused_shards"),
        consequence: "a query of events for one distinct_id asks every shard",
        severity: SettingSeverity::Note,
    },
    SettingRule {
        settings: &["optimize_distributed_group_by_sharding_key"],
        desired: "0",
        is_met: |config, values| has_no_effect(config, values, "optimize_distributed_group_by_sharding_key"),
        consequence: "with optimize_skip_unused_shards, shards don't merge groups of a distinct_id: joins \
            (ClickHouse#111087) and events from before a change of weights give a group twice",
        severity: SettingSeverity::Note,
    },
    SettingRule {
        settings: &["optimize_skip_unused_shards_rewrite_in"],
        desired: "0",
        is_met: |config, values| has_no_effect(config, values, "optimize_skip_unused_shards_rewrite_in"),
        consequence: "with optimize_skip_unused_shards, queries with distinct_id IN (…) outside of WHERE can fail \
            (ClickHouse#116908)",
        severity: SettingSeverity::Note,
    },
    SettingRule {
        settings: &["distributed_product_mode"],
        desired: "global",
        is_met: |config, values| {
            is_one_shard(config)
                || values.get("distributed_product_mode").is_some_and(|mode| mode == "global")
        },
        consequence: "IN and JOIN with a subquery of events fail with code 288 (deny), miss rows of other shards \
            (local), or run the subquery once for each shard (allow)",
        severity: SettingSeverity::Note,
    },
    SettingRule {
        settings: &["enable_multiple_prewhere_read_steps"],
        desired: "0",
        is_met: |config, values| {
            !has_materialized_columns(config)
                || is_from(values, COMPUTES_MISSING_COLUMNS)
                || is_zero(values, "enable_multiple_prewhere_read_steps")
        },
        consequence: "a query with several conditions reads a materialized column as empty in parts from before it \
            (ClickHouse#111757, fixed in 26.8); posthouse schema materialize writes it into them",
        severity: SettingSeverity::Note,
    },
];

impl SettingRule {
    /// Returns a finding if `values` of the profile `profile` break the rule.
    pub(super) fn finding(
        &self,
        node: &str,
        profile: &str,
        config: &Config,
        values: &SettingValues,
    ) -> Option<SettingFinding> {
        // A server without the setting has no limit of this kind.
        let (setting, value) = self.settings.iter().find_map(|name| Some((name, values.get(*name)?)))?;
        (!(self.is_met)(config, values)).then(|| SettingFinding {
            node: node.to_owned(),
            setting: (*setting).to_owned(),
            value: Some(value.clone()),
            desired: self.desired.to_owned(),
            consequence: self.consequence.to_owned(),
            hint: format!("set it in <profiles><{profile}> of the node's users.xml"),
            severity: self.severity,
        })
    }
}

/// Returns a setting as a number; a Boolean is 0 or 1.
fn number(values: &SettingValues, name: &str) -> Option<f64> {
    match values.get(name)?.as_str() {
        "true" => Some(1.0),
        "false" => Some(0.0),
        text => text.parse().ok(),
    }
}

fn is_zero(values: &SettingValues, name: &str) -> bool {
    number(values, name) == Some(0.0)
}

fn has_materialized_columns(config: &Config) -> bool {
    config.events.columns.iter().any(|column| !column.is_written())
}

/// Whether the server has this version, or a later one.
fn is_from(values: &SettingValues, first: (u32, u32)) -> bool {
    let mut parts = values.get(VERSION).into_iter().flat_map(|version| version.split('.'));
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    number().zip(number()).is_some_and(|version: (u32, u32)| version >= first)
}

fn is_one_shard(config: &Config) -> bool {
    config.shards.len() == 1
}

/// Whether a setting that only acts together with `optimize_skip_unused_shards` has no effect.
fn has_no_effect(config: &Config, values: &SettingValues, name: &str) -> bool {
    is_one_shard(config) || is_zero(values, "optimize_skip_unused_shards") || is_zero(values, name)
}

/// Whether a limit is off or at least `least`.
fn is_limit(values: &SettingValues, name: &str, least: f64) -> bool {
    number(values, name).is_none_or(|limit| limit == 0.0 || limit >= least)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The settings of 26.7 with the recommended profile.
    const RECOMMENDED: [(&str, &str); 18] = [
        (VERSION, "26.7.2.1"),
        ("enable_multiple_prewhere_read_steps", "0"),
        ("max_partitions_per_insert_block", "192"),
        ("throw_on_max_partitions_per_insert_block", "1"),
        ("deduplicate_insert", "enable"),
        ("insert_deduplicate", "1"),
        ("insert_shard_id", "0"),
        ("limit", "0"),
        ("offset", "0"),
        ("materialized_views_ignore_errors", "0"),
        ("max_rows_to_read", "0"),
        ("max_bytes_to_read", "0"),
        ("max_execution_time", "0"),
        ("distributed_foreground_insert", "1"),
        ("optimize_skip_unused_shards", "1"),
        ("optimize_distributed_group_by_sharding_key", "0"),
        ("optimize_skip_unused_shards_rewrite_in", "0"),
        ("distributed_product_mode", "global"),
    ];

    /// Returns the settings with findings if `changed` differ from the recommended ones.
    fn findings(changed: &[(&str, &str)]) -> Vec<String> {
        findings_of_shards(&["a", "b"], changed)
    }

    fn findings_of_shards(names: &[&str], changed: &[(&str, &str)]) -> Vec<String> {
        findings_of("events.person_key = true\n", names, changed)
    }

    fn findings_of(events: &str, names: &[&str], changed: &[(&str, &str)]) -> Vec<String> {
        let mut text = format!("kafka.brokers = [\"b:1\"]\n{events}");
        for name in names {
            text.push_str(&format!(
                "[[shards]]\n[[shards.replicas]]\nname = \"{name}\"\nurl = \"http://{name}:8123\"\naddress = \"{name}:9000\"\n"
            ));
        }
        let config = Config::parse(&text, Path::new("")).expect("a config");
        let pairs =
            RECOMMENDED.iter().chain(changed).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let values: SettingValues = pairs.collect();
        let finding = |rule: &SettingRule| rule.finding("a", "default", &config, &values);
        RULES.iter().filter_map(finding).map(|finding| finding.setting).collect()
    }

    #[test]
    fn finds_nothing_in_what_the_documentation_asks_for() {
        assert_eq!(findings(&[]), Vec::<String>::new());
    }

    #[test]
    fn names_each_setting_that_is_wrong() {
        for (name, wrong) in [
            ("max_partitions_per_insert_block", "100"),
            ("deduplicate_insert", "disable"),
            ("insert_shard_id", "1"),
            ("limit", "1000"),
            ("offset", "1"),
            ("materialized_views_ignore_errors", "true"),
            ("max_rows_to_read", "65536"),
            ("max_bytes_to_read", "1000000"),
            ("max_execution_time", "5"),
            ("distributed_foreground_insert", "false"),
            ("optimize_skip_unused_shards", "0"),
            ("optimize_distributed_group_by_sharding_key", "1"),
            ("optimize_skip_unused_shards_rewrite_in", "true"),
            ("distributed_product_mode", "local"),
            ("enable_multiple_prewhere_read_steps", "1"),
        ] {
            assert_eq!(findings(&[(name, wrong)]), [name]);
        }
        let pair = [("deduplicate_insert", "backward_compatible_choice"), ("insert_deduplicate", "0")];
        assert_eq!(findings(&pair), ["deduplicate_insert"]);
    }

    #[test]
    fn accepts_limits_that_are_off_or_large_enough() {
        for (name, right) in [
            ("max_partitions_per_insert_block", "0"),
            ("max_partitions_per_insert_block", "10000"),
            ("deduplicate_insert", "backward_compatible_choice"),
            ("max_rows_to_read", "10000000"),
            ("max_execution_time", "600"),
        ] {
            assert_eq!(findings(&[(name, right)]), Vec::<String>::new(), "{name} = {right}");
        }
        let off =
            [("max_partitions_per_insert_block", "1"), ("throw_on_max_partitions_per_insert_block", "0")];
        assert_eq!(findings(&off), Vec::<String>::new());
    }

    #[test]
    fn asks_for_one_step_of_prewhere_where_old_parts_can_lack_columns() {
        let steps = ("enable_multiple_prewhere_read_steps", "1");
        assert_eq!(findings_of("", &["a"], &[steps]), Vec::<String>::new());
        for (version, count) in [("26.5.1.1", 1), ("26.8.1.700", 0), ("27.1.1.1", 0), ("", 1)] {
            assert_eq!(findings(&[steps, (VERSION, version)]).len(), count, "{version}");
        }
    }

    #[test]
    fn judges_settings_of_shards_only_where_they_have_an_effect() {
        let all_shards =
            [("optimize_skip_unused_shards", "0"), ("optimize_distributed_group_by_sharding_key", "1")];
        assert_eq!(findings(&all_shards), ["optimize_skip_unused_shards"]);
        let server_defaults = [
            ("optimize_skip_unused_shards", "0"),
            ("optimize_distributed_group_by_sharding_key", "1"),
            ("optimize_skip_unused_shards_rewrite_in", "1"),
            ("distributed_product_mode", "deny"),
        ];
        assert_eq!(findings_of_shards(&["a"], &server_defaults), Vec::<String>::new());
    }
}
