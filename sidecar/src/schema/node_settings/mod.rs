//! Node settings that exactly-once and the tables depend on.
//!
//! Kafka tables and their views run with the server's own profile (`<system_profile>`, else
//! `<default_profile>`, else `default`), independent of the profile of posthouse's user. `<kafka>`
//! and the rest of config.xml can't be read through SQL.

mod broker_access;
mod collection;
mod profile;
mod rules;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use self::profile::{Element, profile};
use self::rules::RULES;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::node::{Node, NodeError};
use crate::sql;

/// ClickHouse's error code for a missing privilege (`ACCESS_DENIED`).
const ACCESS_DENIED: u32 = 497;

/// A setting of a node that does not fit the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SettingFinding {
    pub(crate) node: String,
    /// The setting, or the profile that can't be read.
    pub(crate) setting: String,
    /// `None` if it can't be read.
    pub(crate) value: Option<String>,
    pub(crate) desired: String,
    /// The effect of the observed value.
    pub(crate) consequence: String,
    pub(crate) hint: String,
    /// Decides whether apply continues.
    pub(crate) severity: SettingSeverity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SettingSeverity {
    /// Events would be lost, repeated or stuck: apply refuses.
    Fault,
    /// Information only.
    Note,
}

#[derive(Debug, thiserror::Error)]
#[error("the nodes' settings would lose, repeat or block events; no change was made\n{}", text(.0))]
pub(crate) struct SettingsError(
    /// At least one fault.
    pub(crate) Vec<SettingFinding>,
);

#[derive(Debug, Deserialize)]
struct Parsed {
    parsed: u8,
}

#[derive(Debug, Deserialize)]
struct Mode {
    readonly: u64,
}

#[derive(Debug, Deserialize)]
struct Default {
    name: String,
    initial: String,
    alias_for: String,
}

/// Returns the invalid settings of every node, in the order of the nodes.
///
/// # Errors
/// Fails if a node does not answer.
pub(crate) async fn node_settings(cluster: &Cluster) -> anyhow::Result<Vec<SettingFinding>> {
    let mut findings = Vec::new();
    for node in &cluster.all_nodes {
        findings.extend(read(&cluster.config, node).await?);
        findings.extend(collection::findings(&cluster.config, node).await?);
        findings.extend(broker_access::finding(&cluster.config, node).await?);
        findings.extend(parses_garbage(node).await?);
    }
    Ok(findings)
}

/// Whether the server parses any 36 bytes as a UUID, as engines do before ClickHouse's pull
/// request 104370.
async fn parses_garbage(node: &Node) -> Result<Option<SettingFinding>, NodeError> {
    let parsed: Vec<Parsed> = node.rows(sql::text("inspect/uuid_probe.sql").unwrap_or_default()).await?;
    Ok(parsed.iter().any(|row| row.parsed == 1).then(|| SettingFinding {
        node: node.name.clone(),
        setting: "toUUIDOrNull of garbage".to_owned(),
        value: Some("a UUID".to_owned()),
        desired: "NULL".to_owned(),
        consequence: "events with an invalid uuid of 36 bytes are stored under an invented one".to_owned(),
        hint: "upgrade to a release with ClickHouse's pull request 104370".to_owned(),
        severity: SettingSeverity::Note,
    }))
}

/// Refuses a user without write access, before the first step.
pub(crate) async fn refuse_read_only(cluster: &Cluster) -> anyhow::Result<()> {
    let mut refusing = Vec::new();
    for node in &cluster.all_nodes {
        let found: Vec<Mode> = node.rows(sql::text("inspect/readonly.sql").unwrap_or_default()).await?;
        if found.iter().any(|mode| mode.readonly != 0) {
            refusing.push(node.name.clone());
        }
    }
    ensure!(
        refusing.is_empty(),
        "user {} has readonly set on {}, so it can't apply changes there; set clickhouse.user to a user without it",
        cluster.config.clickhouse.user,
        refusing.join(", ")
    );
    Ok(())
}

/// Refuses settings that would lose, repeat or block events.
pub(crate) fn refuse_faults(findings: &[SettingFinding]) -> Result<(), SettingsError> {
    let faults: Vec<SettingFinding> =
        findings.iter().filter(|finding| finding.severity == SettingSeverity::Fault).cloned().collect();
    if faults.is_empty() { Ok(()) } else { Err(SettingsError(faults)) }
}

/// Formats findings as lines, grouped by node.
pub(crate) fn text(findings: &[SettingFinding]) -> String {
    let mut text = String::new();
    for group in findings.chunk_by(|one, next| one.node == next.node) {
        text.push_str(&group.first().map_or_else(String::new, |finding| format!("{}\n", finding.node)));
        for finding in group {
            let SettingFinding { setting, value, desired, consequence, hint, severity, .. } = finding;
            let sign = if *severity == SettingSeverity::Fault { '!' } else { 'i' };
            let value = value.as_deref().unwrap_or("unknown");
            text.push_str(&format!(
                "  {sign} setting {setting} is {value}, should be {desired}\n      {consequence}\n      {hint}\n"
            ));
        }
    }
    text
}

async fn read(config: &Config, node: &Node) -> Result<Vec<SettingFinding>, NodeError> {
    let name = config.clickhouse.server_profile.as_str();
    let elements: Vec<Element> =
        match node.rows(sql::text("inspect/profile_settings.sql").unwrap_or_default()).await {
            Err(error) if error.code() == Some(ACCESS_DENIED) => return Ok(vec![unreadable(config, node)]),
            elements => elements?,
        };
    let names: Vec<&str> = RULES.iter().flat_map(|rule| rule.settings.iter().copied()).collect();
    let query = node.query(sql::text("inspect/setting_defaults.sql").unwrap_or_default());
    let defaults: Vec<Default> = query.param("names", names).rows().await?;
    let mut values = profile(&elements, name);
    for default in &defaults {
        if let Some(value) = values.get(&default.name).filter(|_| !default.alias_for.is_empty()).cloned() {
            values.insert(default.alias_for.clone(), value);
        }
    }
    for default in defaults.into_iter().filter(|default| default.alias_for.is_empty()) {
        values.entry(default.name).or_insert(default.initial);
    }
    Ok(RULES.iter().filter_map(|rule| rule.finding(&node.name, name, config, &values)).collect())
}

fn unreadable(config: &Config, node: &Node) -> SettingFinding {
    let (profile, user) = (&config.clickhouse.server_profile, &config.clickhouse.user);
    SettingFinding {
        node: node.name.clone(),
        setting: format!("profile {profile}"),
        value: None,
        desired: "readable".to_owned(),
        consequence: "settings that lose, repeat or block events are not detected".to_owned(),
        hint: format!(
            "GRANT SHOW SETTINGS PROFILES ON *.*, SELECT ON system.settings_profile_elements TO {user}"
        ),
        severity: SettingSeverity::Note,
    }
}
