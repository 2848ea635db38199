//! `posthouse persons snapshot`: the person index of the nodes on this machine.

use clap::Subcommand;

use super::super::Outcome;
use super::super::notices::note;
use super::super::output::{Output, table};
use crate::cluster::Cluster;
use crate::person_index::{self, BuildReport, IndexComparison, IndexState, IndexStatus};

pub(super) const SNAPSHOT: &str = "\
The functions personOf, personOfKey and personKnown look up persons in files of the node, without a
JOIN. These files are beside the functions, so each command works on the nodes whose
user_scripts_path is on this machine.

Examples:
  posthouse persons snapshot build
  posthouse persons snapshot status
  posthouse persons snapshot verify --json";

const BUILD: &str = "\
Reads the node's table of distinct ids whole, and publishes the new index at once. Queries use it
from their next block on. It needs 40 bytes of disk for a distinct id, and meanwhile 41 for each of
its versions. An index that can't be built leaves the published one.

posthouse run builds the index by itself, and follows changes, unless persons.index is \"off\". Then
this command builds it, for example every hour. personSnapshot('age_ms') is the age in SQL.

Examples:
  posthouse persons snapshot build";

const STATUS: &str = "\
Shows generation, entries and age of each index. A shared key belongs to two distinct ids;
personOfKey gives no person for it, personOf does.

Examples:
  posthouse persons snapshot status
  posthouse persons snapshot status --json | jq '.[].age_ms'";

const VERIFY: &str = "\
Reads the node's table whole, and compares every distinct id with the index. While posthouse run
keeps the index, ids that change meanwhile are looked at a second time, and counted as ahead if the
index has what the table has, or more. Without it, changes since the build are differences.

Examples:
  posthouse persons snapshot verify";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SnapshotCommand {
    /// Build the index of each node from its table of distinct ids, and publish it
    #[command(after_help = BUILD)]
    Build,
    /// Show generation, entries and age of each index
    #[command(after_help = STATUS)]
    Status,
    /// Compare every distinct id of the table with the index
    #[command(after_help = VERIFY)]
    Verify,
}

impl SnapshotCommand {
    pub(in crate::cli) async fn run(&self, cluster: &Cluster, output: Output) -> anyhow::Result<Outcome> {
        let nodes = person_index::local_nodes(cluster)?;
        match self {
            Self::Build => {
                let mut built = Vec::new();
                for node in nodes {
                    let progress = |rows, all| note(format!("{}: {rows} of {all} versions read", node.name));
                    built.push(person_index::build(cluster, node, &progress).await?);
                }
                output.print(&built, |built| built_text(built))?;
                Ok(Outcome::Clean)
            }
            Self::Status => {
                let states: Vec<IndexStatus> = nodes.into_iter().filter_map(person_index::status).collect();
                output.print(&states, |states| states_text(states))?;
                let is_published =
                    |status: &IndexStatus| matches!(status.state, IndexState::Published { .. });
                Ok(Outcome::differs_if(!states.iter().all(is_published)))
            }
            Self::Verify => {
                let mut compared = Vec::new();
                for node in nodes {
                    let progress = |rows, all| note(format!("{}: {rows} of {all} versions read", node.name));
                    compared.push(person_index::verify(cluster, node, &progress).await?);
                }
                output.print(&compared, |compared| compared_text(compared))?;
                Ok(Outcome::differs_if(compared.iter().any(|compared| compared.differences() > 0)))
            }
        }
    }
}

fn built_text(built: &[BuildReport]) -> String {
    let heading = ["node", "generation", "versions", "distinct ids", "deleted", "bytes", "shared keys"];
    let rows = built.iter().map(|built| {
        let numbers = [built.generation, built.rows, built.entries, built.deletions, built.bytes];
        let numbers = numbers.iter().map(u64::to_string).chain([built.shared_keys.to_string()]);
        std::iter::once(built.node.clone()).chain(numbers).collect()
    });
    table(&std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>())
}

fn states_text(states: &[IndexStatus]) -> String {
    let heading =
        ["node", "generation", "entries", "files", "age", "shared keys"].map(str::to_owned).to_vec();
    let mut rows = vec![heading];
    let mut problems = String::new();
    for IndexStatus { node, state, .. } in states {
        match state {
            IndexState::Missing => {
                problems +=
                    &format!("node {node} has no person index: run posthouse persons snapshot build\n");
            }
            IndexState::Unusable { problem } => problems += &format!("node {node}: {problem}\n"),
            IndexState::Published { generation, entries, files, age_ms, shared_keys } => rows.push(vec![
                node.clone(),
                generation.to_string(),
                entries.to_string(),
                files.to_string(),
                format!("{} s", age_ms / 1000),
                if shared_keys.is_empty() { "-".to_owned() } else { shared_keys.join(", ") },
            ]),
        }
    }
    if rows.len() > 1 { table(&rows) + &problems } else { problems }
}

fn compared_text(compared: &[IndexComparison]) -> String {
    let heading = ["node", "generation", "distinct ids", "missing", "extra", "different", "ahead"];
    let rows = compared.iter().map(|compared| {
        let IndexComparison { node, generation, compared, missing, extra, different, ahead } = compared;
        let numbers = [generation, compared, missing, extra, different, ahead].map(u64::to_string);
        std::iter::once(node.clone()).chain(numbers).collect()
    });
    table(&std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>())
}
