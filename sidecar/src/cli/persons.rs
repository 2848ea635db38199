//! `posthouse persons`: whether the copies of persons are right, and their repair.

use clap::{Args, Subcommand};
use posthouse::config::Config;
use posthouse::persons::{Audit, Report};

use super::Outcome;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Persons {
    /// Compare every node with PostgreSQL, row by row
    #[command(after_help = AUDIT)]
    Audit(AuditArguments),
}

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// Publish the rows that differ again, and compare once more
    #[arg(long)]
    repair: bool,
}

const AUDIT: &str = "\
Counts and checksums of both tables are compared first, then the rows where these differ. Rows
on their way are waited for, so a running posthouse must hold the slot. Both tables are read
whole, on PostgreSQL and on every node.

missing      PostgreSQL has it, the node does not
stale        the node has other contents
resurrected  it was deleted on the node and is visible again
extra        PostgreSQL does not have it
moving       it was changed while it was compared, and is not judged

Examples:
  posthouse persons audit
  posthouse persons audit --repair
  posthouse persons audit --json | jq '.tables[].nodes[] | select(.missing > 0)'";

impl Persons {
    pub(super) async fn run(&self, config: &Config, output: Output) -> anyhow::Result<Outcome> {
        let Self::Audit(arguments) = self;
        let audit = Audit::new(config)?;
        if !arguments.repair {
            let report = audit.check().await?;
            output.print(&report, text)?;
            return Ok(Outcome::differs_if(report.differences() > 0));
        }
        let (before, after) = audit.repair().await?;
        let repaired = before.differences();
        output.print(&after, |after| match repaired {
            0 => text(after),
            _ => format!("{}\n{repaired} rows published again; then:\n\n{}", text(&before), text(after)),
        })?;
        Ok(Outcome::differs_if(after.differences() > 0))
    }
}

fn text(report: &Report) -> String {
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
        0 => "every node has what PostgreSQL has\n".to_owned(),
        count => format!("{count} rows differ, such as (team:key)\n{examples}"),
    };
    format!("{}{verdict}", super::output::table(&rows))
}
