//! `posthouse persons squash`: the current persons in events.

use std::time::Duration;

use clap::Args;

use super::super::Outcome;
use super::super::notices::note;
use super::super::output::{Output, table};
use crate::cluster::Cluster;
use crate::duration;
use crate::squash::{self, SquashPlan, SquashReport, SquashRequest, SquashSource, SquashStep};

pub(super) const SQUASH: &str = "\
Events store the person that they had at ingestion. When a distinct id gets another person, queries
take it from person_distinct_id_overrides. A squash writes these persons into the events and then
removes the overrides, so that queries need not look them up.

Without --apply it prints the plan: distinct ids, and the events to write by shard and partition. It
changes nothing, and reads three columns of all events.

With --apply each shard writes one partition at a time, the newest first, and waits while it has too
many parts or little free disk. Overrides are removed when no event of any shard differs from them.
Distinct ids that change meanwhile keep their overrides. After a kill or a failure run it again: it
writes only events that still differ. A mutation that has begun goes on in the server meanwhile.

--all-distinct-ids compares all distinct ids, not only those with overrides. Use it after a load of
history with former persons.

Examples:
  posthouse persons squash
  posthouse persons squash --apply
  posthouse persons squash --apply --older-than 7d
  posthouse persons squash --json | jq '[.shards[].partitions[].events] | add'";

#[derive(Debug, Args)]
pub(in crate::cli) struct SquashArguments {
    /// Write the events and remove the overrides
    #[arg(long)]
    apply: bool,

    /// Age from which changes of persons are squashed; events of half this age must have been read
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration::option)]
    older_than: Duration,

    /// Compare all distinct ids instead of those with overrides
    #[arg(long)]
    all_distinct_ids: bool,

    /// Distinct ids of a round, which each node holds in memory
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    ids_per_round: u64,
}

impl SquashArguments {
    pub(in crate::cli) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        let source = match self.all_distinct_ids {
            true => SquashSource::AllDistinctIds,
            false => SquashSource::Overrides,
        };
        let request =
            SquashRequest { source, older_than: self.older_than, ids_per_round: self.ids_per_round };
        if !self.apply {
            let plan = squash::plan(cluster, &request).await?;
            output.print(&plan, plan_text)?;
            return Ok(Outcome::differs_if(plan.distinct_ids > 0 && plan.events() > 0));
        }
        let report = squash::run(cluster, &request, &|step| note(step_text(&step))).await?;
        output.print(&report, report_text)?;
        Ok(Outcome::Clean)
    }
}

fn plan_text(plan: &SquashPlan) -> String {
    let SquashPlan { source, before, distinct_ids, rounds, shards } = plan;
    let heading = ["shard", "node", "partition", "events to write"].map(str::to_owned).to_vec();
    let rows = shards.iter().flat_map(|shard| {
        shard.partitions.iter().map(|partition| {
            let (place, node) = (shard.shard.to_string(), shard.node.clone());
            vec![place, node, partition.partition.clone(), partition.events.to_string()]
        })
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    let listed = if rows.len() > 1 { table(&rows) + "\n" } else { String::new() };
    let rounds = if *rounds > 1 { format!(", in {rounds} rounds") } else { String::new() };
    format!(
        "{listed}{distinct_ids} distinct ids of {source} changed before {before}{rounds}; {} events have another person\n",
        plan.events()
    )
}

fn step_text(step: &SquashStep) -> String {
    match step {
        SquashStep::Taken { round, rounds, ids } => format!("round {round} of {rounds}: {ids} distinct ids"),
        SquashStep::Writing { node, partition, events } => {
            format!("{node}: partition {partition}, {events} events")
        }
        SquashStep::Waiting { node, reason } => format!("{node}: waits: {reason}"),
        SquashStep::Removing { ids } => {
            format!("no event differs; removing the overrides of {ids} distinct ids")
        }
    }
}

fn report_text(report: &SquashReport) -> String {
    let SquashReport { distinct_ids, events } = report;
    format!("{events} events written; all events of {distinct_ids} distinct ids have their current person\n")
}
