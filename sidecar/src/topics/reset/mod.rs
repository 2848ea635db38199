//! Plan of an offset reset of a consumer group, with refusals.
//!
//! A pure decision; [`execute`] carries it out.

mod execute;
mod look;
mod moves;
mod refusal;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub(crate) use self::execute::execute;
pub(crate) use self::look::look;
use self::moves::{moves, topics};
pub(crate) use self::refusal::{Refusals, ResetRefusal};
pub(crate) use self::target::Target;
use super::apply::lock::is_lock;
use super::groups::{GroupSnapshot, Kept};
use crate::kafka::{Member, TopicPartition};
use crate::schema::KafkaTable;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResetRequest {
    pub(crate) group: String,
    /// Topics by name; empty for all topics of the group.
    pub(crate) topics: BTreeSet<String>,
    pub(crate) target: Target,
}

/// Input of a reset plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResetInput {
    pub(crate) seen: GroupSnapshot,
    /// Current time in milliseconds since 1970.
    pub(crate) now: i64,
    /// Offset of each partition at the requested time; `None` after its last message.
    pub(crate) at: BTreeMap<TopicPartition, Option<i64>>,
    /// The schema's own Kafka tables, if the group is theirs.
    pub(crate) own: Option<SchemaConsumers>,
}

/// The schema's own Kafka tables of the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SchemaConsumers {
    pub(crate) database: String,
    /// Table names, the same on each of `nodes`.
    pub(crate) names: BTreeSet<String>,
    pub(crate) topics: BTreeSet<String>,
    /// Every node that ingests.
    pub(crate) nodes: BTreeSet<String>,
    /// Other differences of the schema. With any, apply can't be relied on to recreate the tables.
    pub(crate) drift: Vec<String>,
    /// Detached tables with their nodes.
    pub(crate) detached: Vec<String>,
    /// Stale replicas: Keeper has them and no node does.
    pub(crate) stale_replicas: Vec<String>,
}

impl SchemaConsumers {
    fn has(&self, table: &KafkaTable) -> bool {
        table.database == self.database && self.names.contains(&table.name)
    }

    /// Whether a member is a consumer of one of these tables. ClickHouse builds its client id from
    /// version, host, database and table.
    fn is(&self, member: &Member) -> bool {
        let called = |name: &String| member.client.contains(&format!("-{}-{name}", self.database));
        self.names.iter().any(called)
    }
}

/// Offset change of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Move {
    #[serde(flatten)]
    pub(crate) place: TopicPartition,
    /// Current offset; absent if the group never committed one.
    pub(crate) from: Option<i64>,
    /// New offset.
    pub(crate) to: i64,
    /// Messages that are replayed.
    pub(crate) again: i64,
    /// Messages that are skipped.
    pub(crate) skipped: i64,
}

/// The planned reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reset {
    pub(crate) group: String,
    /// Every requested partition, including unchanged ones.
    pub(crate) moves: Vec<Move>,
    /// Kafka tables that are dropped first and recreated afterwards, by name, with their nodes.
    pub(crate) dropped: BTreeMap<String, Vec<String>>,
    /// Missing Kafka tables that are created, by name, with their nodes.
    pub(crate) made: BTreeMap<String, Vec<String>>,
    /// Reason why the tables' offsets are uncertain. With one, the tables are always dropped and
    /// recreated.
    pub(crate) doubt: Option<String>,
    /// Costs of the reset.
    pub(crate) warnings: Vec<String>,
}

impl Reset {
    /// Whether any offset changes, or may change.
    pub(crate) fn moves(&self) -> bool {
        self.doubt.is_some() || self.moves.iter().any(|step| step.from != Some(step.to))
    }

    /// Whether the reset has no work left.
    pub(crate) fn is_done(&self) -> bool {
        !self.moves() && self.made.is_empty()
    }
}

/// Plans the request.
///
/// # Errors
/// All refusals of the request.
pub(crate) fn plan(request: &ResetRequest, found: &ResetInput) -> Result<Reset, Refusals> {
    let mut refusals = against(request, found);
    let (moves, unfit) = moves(request, found);
    refusals.extend(unfit);
    if !refusals.is_empty() {
        return Err(Refusals { group: request.group.clone(), refusals });
    }
    let (dropped, made) = tables(request, found);
    let (group, doubt) = (request.group.clone(), doubt(request, found));
    let mut reset = Reset { group, moves, dropped, made, doubt, warnings: Vec::new() };
    if !reset.moves() {
        reset.dropped.clear();
    }
    reset.warnings = warnings(&reset);
    Ok(reset)
}

/// Reason for doubt about the tables' offsets: an operator may have committed offsets for the
/// group, and tables with offsets in Keeper don't follow a commit.
fn doubt(request: &ResetRequest, found: &ResetInput) -> Option<String> {
    let mut paths = found.seen.tables_of(&request.group).filter_map(|table| table.keeper_path.as_ref());
    paths.find_map(|path| match found.seen.kept.get(path)? {
        Kept::Unreadable(why) => Some(format!(
            "the tables' offsets are known from the group alone, because Keeper can't be read ({why})"
        )),
        Kept::Offsets(_) => None,
    })
}

/// Refusals of any reset of the group.
fn against(request: &ResetRequest, found: &ResetInput) -> Vec<ResetRefusal> {
    let (group, seen) = (&request.group, &found.seen);
    let mut refusals = Vec::new();
    if is_lock(group) {
        refusals.push(ResetRefusal::Lock);
    }
    refusals.extend(seen.silent.values().map(|said| ResetRefusal::Silent(said.clone())));
    if !seen.silent.is_empty() {
        // The owners of tables and members are unknown until all nodes answer.
        return refusals;
    }
    let members = seen.groups.iter().filter(|known| known.name == *group).flat_map(|group| &group.members);
    let own = |member: &&Member| found.own.as_ref().is_some_and(|own| own.is(member));
    let members: Vec<String> = members.filter(|member| !own(member)).map(called).collect();
    if !members.is_empty() {
        refusals.push(ResetRefusal::Members(members));
    }
    if seen.groups.iter().any(|known| known.name == *group && known.is_unreported()) {
        refusals.push(ResetRefusal::Untold);
    }
    let own = |table: &&KafkaTable| found.own.as_ref().is_some_and(|own| own.has(table));
    let others: BTreeSet<String> = seen
        .tables_of(group)
        .filter(|table| !own(table))
        .map(|table| format!("{} on {}", table.full_name(), table.node))
        .collect();
    if !others.is_empty() {
        refusals.push(ResetRefusal::Tables(others.into_iter().collect()));
    }
    if let Some(own) = &found.own {
        refusals.extend(own.drift.iter().map(|drift| ResetRefusal::Drift(drift.clone())));
        refusals.extend(own.detached.iter().map(|table| ResetRefusal::Detached(table.clone())));
        refusals.extend(own.stale_replicas.iter().map(|replica| ResetRefusal::Stray(replica.clone())));
    }
    refusals
}

fn called(member: &Member) -> String {
    format!("{} at {}", member.client, member.host.trim_start_matches('/'))
}

/// Kafka tables by name, with their nodes.
type NodesByTable = BTreeMap<String, Vec<String>>;

fn tables(request: &ResetRequest, found: &ResetInput) -> (NodesByTable, NodesByTable) {
    let (mut stand, mut missing) = (NodesByTable::new(), NodesByTable::new());
    let Some(own) = &found.own else { return (stand, missing) };
    for name in &own.names {
        for node in &own.nodes {
            let is = |table: &KafkaTable| own.has(table) && table.name == *name && table.node == *node;
            let there = found.seen.tables_of(&request.group).any(is);
            let list = if there { &mut stand } else { &mut missing };
            list.entry(format!("{}.{name}", own.database)).or_default().push(node.clone());
        }
    }
    (stand, missing)
}

fn warnings(reset: &Reset) -> Vec<String> {
    let sum = |of: fn(&Move) -> i64| reset.moves.iter().map(of).sum::<i64>();
    let (again, skipped) = (sum(|step| step.again), sum(|step| step.skipped));
    let mut warnings = Vec::new();
    if again > 0 {
        warnings.push(format!(
            "{again} messages are replayed: their stored rows may be stored twice. Neither the deduplication \
             window nor merges guarantee to drop them"
        ));
    }
    if skipped > 0 {
        warnings.push(format!("{skipped} messages are skipped: this group never reads them"));
    }
    warnings
}
