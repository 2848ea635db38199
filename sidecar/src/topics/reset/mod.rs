//! A group's offsets set anew: what moves, and what stands against it. A pure decision; [`execute`] does it.

mod execute;
mod look;
mod moves;
mod refusal;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::execute::{ExecuteError, ResetError, execute};
pub use self::look::look;
use self::moves::{moves, topics};
pub use self::refusal::{Refusal, Refusals};
pub use self::target::{Target, TargetError};
use super::apply::lock::is_lock;
use super::groups::{Kept, Seen};
use crate::kafka::{Member, Place};
use crate::schema::KafkaTable;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The group.
    pub group: String,
    /// Topics by name; none for all that the group reads.
    pub topics: BTreeSet<String>,
    /// Where it is to go on.
    pub target: Target,
}

/// What is known beside what [`Seen`] has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who reads what, and how far.
    pub seen: Seen,
    /// Now, in milliseconds since 1970.
    pub now: i64,
    /// Where each partition was at the time that is asked for; `None` after its last message.
    pub at: BTreeMap<Place, Option<i64>>,
    /// The schema's own Kafka tables, if the group is theirs.
    pub own: Option<Own>,
}

/// The schema's own Kafka tables of the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Their database.
    pub database: String,
    /// What they are called, on every node.
    pub names: BTreeSet<String>,
    /// The topics that they read.
    pub topics: BTreeSet<String>,
    /// Every node of the config.
    pub nodes: BTreeSet<String>,
    /// In what the schema differs besides, so that it can't be relied on to make the tables again.
    pub drift: Vec<String>,
    /// Tables that are detached, with their nodes.
    pub detached: Vec<String>,
    /// Replicas that Keeper knows and no node has.
    pub strays: Vec<String>,
}

impl Own {
    fn has(&self, table: &KafkaTable) -> bool {
        table.database == self.database && self.names.contains(&table.name)
    }

    /// Whether a member is a consumer of one of these tables: ClickHouse calls it by version, host, database and table.
    fn is(&self, member: &Member) -> bool {
        let called = |name: &String| member.client.contains(&format!("-{}-{name}", self.database));
        self.names.iter().any(called)
    }
}

/// One partition's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// Where the group is; absent if it never committed.
    pub from: Option<i64>,
    /// Where it will be.
    pub to: i64,
    /// Messages that are read again.
    pub again: i64,
    /// Messages that are not read.
    pub skipped: i64,
}

/// What a reset does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// The group.
    pub group: String,
    /// Every partition that is asked for, also those that stay.
    pub moves: Vec<Move>,
    /// Kafka tables that are dropped on these nodes first, and made again afterwards.
    pub dropped: BTreeMap<String, Vec<String>>,
    /// Kafka tables that are missing and made.
    pub made: BTreeMap<String, Vec<String>>,
    /// Why it is not known for sure where the tables are; they are dropped and made again in any case then.
    pub doubt: Option<String>,
    /// What it costs.
    pub warnings: Vec<String>,
}

impl Reset {
    /// Whether any offset changes, or may.
    pub fn moves(&self) -> bool {
        self.doubt.is_some() || self.moves.iter().any(|step| step.from != Some(step.to))
    }

    /// Whether there is nothing to do at all.
    pub fn is_done(&self) -> bool {
        !self.moves() && self.made.is_empty()
    }
}

/// What the request comes to.
///
/// # Errors
/// Everything that stands against it.
pub fn plan(request: &Request, found: &Found) -> Result<Reset, Refusals> {
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

/// Somebody may have committed for the group by hand, which tables with offsets in Keeper don't follow.
fn doubt(request: &Request, found: &Found) -> Option<String> {
    let mut paths = found.seen.tables_of(&request.group).filter_map(|table| table.keeper_path.as_ref());
    paths.find_map(|path| match found.seen.kept.get(path)? {
        Kept::Unreadable(why) => Some(format!(
            "where the tables are is known by the group alone, since Keeper can't be read ({why})"
        )),
        Kept::Offsets(_) => None,
    })
}

/// What stands against any reset of the group.
fn against(request: &Request, found: &Found) -> Vec<Refusal> {
    let (group, seen) = (&request.group, &found.seen);
    let mut refusals = Vec::new();
    if is_lock(group) {
        refusals.push(Refusal::Lock);
    }
    refusals.extend(seen.silent.values().map(|said| Refusal::Silent(said.clone())));
    if !seen.silent.is_empty() {
        // Without them all there is no telling whose tables and members these are.
        return refusals;
    }
    let members = seen.groups.iter().filter(|known| known.name == *group).flat_map(|group| &group.members);
    let own = |member: &&Member| found.own.as_ref().is_some_and(|own| own.is(member));
    let members: Vec<String> = members.filter(|member| !own(member)).map(called).collect();
    if !members.is_empty() {
        refusals.push(Refusal::Members(members));
    }
    if seen.groups.iter().any(|known| known.name == *group && known.state == "Dead") {
        refusals.push(Refusal::Untold);
    }
    let own = |table: &&KafkaTable| found.own.as_ref().is_some_and(|own| own.has(table));
    let others: BTreeSet<String> = seen
        .tables_of(group)
        .filter(|table| !own(table))
        .map(|table| format!("{} on {}", table.full_name(), table.node))
        .collect();
    if !others.is_empty() {
        refusals.push(Refusal::Tables(others.into_iter().collect()));
    }
    if let Some(own) = &found.own {
        refusals.extend(own.drift.iter().map(|drift| Refusal::Drift(drift.clone())));
        refusals.extend(own.detached.iter().map(|table| Refusal::Detached(table.clone())));
        refusals.extend(own.strays.iter().map(|replica| Refusal::Stray(replica.clone())));
    }
    refusals
}

fn called(member: &Member) -> String {
    format!("{} at {}", member.client, member.host.trim_start_matches('/'))
}

/// The schema's tables of the group that stand, and those that are missing, each with its nodes.
type Standing = BTreeMap<String, Vec<String>>;

fn tables(request: &Request, found: &Found) -> (Standing, Standing) {
    let (mut stand, mut missing) = (Standing::new(), Standing::new());
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
            "{again} messages are read again: what was stored of them may be stored twice. Neither the window of \
             remembered blocks nor merges promise to drop it"
        ));
    }
    if skipped > 0 {
        warnings.push(format!("{skipped} messages are skipped: nobody reads them in this group"));
    }
    warnings
}
