//! `posthouse persons`: check, audit and repair of persons.

mod snapshot;
mod squash;

use clap::{Args, Subcommand};
use tracing::Instrument;

use super::Outcome;
use super::output::Output;
use crate::cluster::Cluster;
use crate::persons::{Audit, AuditReport, Deletions, Preflight, Requirement, SlotState, preflight, script};

#[derive(Debug, Subcommand)]
pub(super) enum PersonsCommand {
    /// Check all requirements on PostgreSQL and Kafka, and show the tables and topics to publish
    #[command(after_help = CHECK)]
    Check,
    /// Compare persons and distinct ids of every node with PostgreSQL, row by row
    #[command(after_help = AUDIT)]
    Audit(AuditArguments),
    /// Write the current persons into events, and remove the overrides that held them
    #[command(after_help = squash::SQUASH)]
    Squash(squash::SquashArguments),
    /// Build, show and verify the index that personOf reads
    #[command(subcommand, after_help = snapshot::SNAPSHOT)]
    Snapshot(snapshot::SnapshotCommand),
}

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// Republish the rows that differ, then repeat the comparison
    #[arg(long)]
    repair: bool,

    /// Delete all rows of the nodes that PostgreSQL does not have, regardless of their number
    #[arg(long, requires = "repair")]
    yes_delete: bool,
}

const CHECK: &str = "\
Lists each requirement as ok, missing, wrong or blocks: server, settings, role, tables with all of
their partitions, publication, slot, topics. The SQL below the list fixes the unmet ones. A prepared
transaction blocks if a new slot would wait for it.

The check is read-only. It reads the newest messages of each partition of both topics, and the
versions of all rows on every node. With version = \"wal\" every message of another producer
conflicts, and every row with a version that no WAL gives: versions of the WAL would hide the other
producer's rows for good. With version = \"column\" versions of the WAL conflict.
posthouse run does not start to publish beside conflicts. If it has published there before, it
continues and reports such messages.

Examples:
  posthouse persons check
  posthouse persons check --json | jq -r '.requirements[].fix[]' | psql app";

const AUDIT: &str = "\
Compares counts and checksums of both tables, then the rows where these differ. It waits for rows
in flight, so a running posthouse must hold the slot. It reads both tables whole, on PostgreSQL and
on every node.

missing      PostgreSQL has the row, the node does not
stale        the node has other contents
resurrected  the row was deleted on the node and is visible again
extra        PostgreSQL does not have the row
moving       the row changed during the audit and is left out

A repair deletes extra rows only up to 5 % of a node's rows, or 1,000: more looks like a PostgreSQL
that was restored, or that hides rows. --yes-delete deletes all of them.

Examples:
  posthouse persons audit
  posthouse persons audit --repair
  posthouse persons audit --json | jq '.tables[].nodes[] | select(.missing > 0)'";

impl PersonsCommand {
    pub(super) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        match self {
            Self::Check => check(cluster, output).await,
            Self::Audit(arguments) => arguments.run(cluster, output).await,
            Self::Squash(arguments) => arguments.run(cluster, output).await,
            Self::Snapshot(command) => command.run(cluster, output).await,
        }
    }
}

async fn check(cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
    let preflight = preflight(cluster).await?;
    output.print(&preflight, preflight_text)?;
    Ok(Outcome::differs_if(preflight.conflicts.count() > 0 || preflight.refused.is_some()))
}

impl AuditArguments {
    async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        let audit = Audit::new(cluster)?;
        if !self.repair {
            let report = audit.check().instrument(audit.span()).await?;
            output.print(&report, text)?;
            return Ok(Outcome::differs_if(report.differences() > 0));
        }
        let deletions = match self.yes_delete {
            true => Deletions::Confirmed,
            false => Deletions::Guarded { expected: 0 },
        };
        let (before, after) = audit.repair(deletions).instrument(audit.span()).await?;
        let repaired = before.differences();
        output.print(&after, |after| match repaired {
            0 => text(after),
            _ => format!("{}\n{repaired} rows republished; then:\n\n{}", text(&before), text(after)),
        })?;
        Ok(Outcome::differs_if(after.differences() > 0))
    }
}

fn preflight_text(preflight: &Preflight) -> String {
    let Preflight { address, database, slot, slot_state, version, has_published, conflicts, .. } = preflight;
    let mut lines = vec![format!("from         PostgreSQL at {address}, database {database}")];
    for table in &preflight.tables {
        let rows = table.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
        lines.push(format!("             {} with {rows} rows → topic {}", table.table, table.topic));
    }
    lines.push(format!("slot         {slot}, {}", format!("{slot_state:?}").to_lowercase()));
    let snapshot = preflight.snapshot_version.map(|now| format!(", {now} for an initial snapshot now"));
    lines.push(format!("versions     {version}{}", snapshot.unwrap_or_default()));
    let published = if *has_published { "to these topics, with these versions" } else { "not yet" };
    lines.push(format!("published    {published}"));
    for topic in &conflicts.topics {
        lines.push(format!("read         topic {}: the newest {} messages", topic.topic, topic.read));
    }
    for table in &conflicts.tables {
        let (name, node, rows, greatest) = (&table.table, &table.node, table.rows, table.greatest);
        lines.push(format!("             table {name} on {node}: {rows} rows, versions up to {greatest}"));
    }
    lines.extend(conflicts.unreachable.iter().map(|node| format!("not read     node {node}: unreachable")));
    lines.extend(conflicts.lines().iter().map(|line| format!("conflict     {line}")));
    lines.push(match (&preflight.refused, conflicts.count()) {
        (Some(refused), _) => format!("posthouse run does not publish: {refused}{}", idle_slot(preflight)),
        (None, 0) => "no conflicts".to_owned(),
        (None, _) => {
            "posthouse run continues, because it has published here before; conflicting rows are hidden for good"
                .to_owned()
        }
    });
    requirements_text(&preflight.requirements) + &lines.join("\n")
}

/// Formats the requirements, and the SQL that meets the unmet ones.
fn requirements_text(requirements: &[Requirement]) -> String {
    let row = |requirement: &Requirement| {
        let state = format!("{:?}", requirement.state).to_lowercase();
        vec![state, requirement.subject.clone(), requirement.found.clone()]
    };
    let mut text = super::output::table(&requirements.iter().map(row).collect::<Vec<_>>());
    let script = script(requirements);
    if !script.is_empty() {
        text.push_str(&format!("\nSQL for the owner of the tables, or a superuser:\n\n{script}"));
    }
    text.push('\n');
    text
}

/// Reports a slot without a reader, because it keeps WAL on PostgreSQL's disk.
fn idle_slot(preflight: &Preflight) -> String {
    match preflight.slot_state {
        SlotState::Free => format!(
            "\nslot {0} retains WAL meanwhile: if that lasts, run SELECT pg_drop_replication_slot('{0}')",
            preflight.slot
        ),
        SlotState::Missing | SlotState::Held | SlotState::Lost => String::new(),
    }
}

fn text(report: &AuditReport) -> String {
    let heading =
        ["table", "PostgreSQL", "node", "rows", "missing", "stale", "resurrected", "extra", "moving"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut examples = String::new();
    for table in &report.tables {
        for node in &table.nodes {
            let numbers =
                [node.missing, node.stale, node.resurrected, node.extra, node.moving].map(|n| n.to_string());
            let mut row = vec![
                table.table.to_owned(),
                table.rows.to_string(),
                node.node.clone(),
                node.rows.to_string(),
            ];
            row.extend(numbers);
            rows.push(row);
            for (key, what) in &node.examples {
                let what = format!("{what:?}").to_lowercase();
                examples.push_str(&format!("  {} on {}: {what} {key:?}\n", table.table, node.node));
            }
        }
    }
    let verdict = match report.differences() {
        0 => "every node matches PostgreSQL\n".to_owned(),
        count => format!("{count} rows differ, such as (team:key)\n{examples}"),
    };
    format!("{}{verdict}", super::output::table(&rows))
}
