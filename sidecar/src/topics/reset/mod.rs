//! A group's offsets set anew: what moves, and what stands against it. A pure decision; [`execute`] does it.

mod execute;
mod look;
mod refusal;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::execute::{ExecuteError, ResetError, execute};
pub use self::look::look;
pub use self::refusal::{Refusal, Refusals};
pub use self::target::{Target, TargetError};
use super::groups::{Seen, places};
use super::lock::LOCK_GROUP;
use super::tables::KafkaTable;
use crate::kafka::{Bounds, Member, Place};

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
    /// What it costs.
    pub warnings: Vec<String>,
}

impl Reset {
    /// Whether any offset changes.
    pub fn moves(&self) -> bool {
        self.moves.iter().any(|step| step.from != Some(step.to))
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
    let mut reset = Reset { group: request.group.clone(), moves, dropped, made, warnings: Vec::new() };
    if !reset.moves() {
        reset.dropped.clear();
    }
    reset.warnings = warnings(&reset);
    Ok(reset)
}

/// What stands against any reset of the group.
fn against(request: &Request, found: &Found) -> Vec<Refusal> {
    let (group, seen) = (&request.group, &found.seen);
    let mut refusals = Vec::new();
    if group == LOCK_GROUP {
        refusals.push(Refusal::Lock);
    }
    refusals.extend(seen.silent.values().map(|said| Refusal::Silent(said.clone())));
    let members = seen.groups.iter().filter(|known| known.name == *group).flat_map(|group| &group.members);
    let own = |member: &&Member| found.own.as_ref().is_some_and(|own| own.is(member));
    let members: Vec<String> = members.filter(|member| !own(member)).map(called).collect();
    if !members.is_empty() {
        refusals.push(Refusal::Members(members));
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

/// Where every partition goes that is asked for, and what can't be done of it.
fn moves(request: &Request, found: &Found) -> (Vec<Move>, Vec<Refusal>) {
    let (seen, mut refusals) = (&found.seen, Vec::new());
    let topics = topics(request, found);
    if topics.is_empty() {
        refusals.push(Refusal::Unknown);
    }
    if matches!(request.target, Target::Offsets(_)) && topics.len() > 1 {
        refusals.push(Refusal::Topics(topics.iter().cloned().collect()));
        return (Vec::new(), refusals);
    }
    if request.target.time(found.now).is_some_and(|time| time > found.now) {
        refusals.push(Refusal::Future);
    }
    let mut moves = Vec::new();
    for topic in &topics {
        let all: Vec<Place> = places(&seen.cluster, topic).collect();
        if all.is_empty() {
            refusals.push(Refusal::NoTopic(topic.clone()));
        }
        if let Target::Offsets(offsets) = &request.target {
            let unknown =
                offsets.keys().filter(|number| !all.iter().any(|place| place.partition == **number));
            refusals.extend(unknown.map(|number| Refusal::NoPartition(topic.clone(), *number, all.len())));
        }
        for place in all {
            match seen.bounds.get(&place) {
                None => refusals.push(Refusal::NoLeader(place)),
                Some(bounds) => match to(request, found, &place, *bounds) {
                    Some(to) if !(bounds.first..=bounds.end).contains(&to) => {
                        refusals.push(Refusal::OutOfBounds(place, to, *bounds));
                    }
                    Some(to) => moves.push(step(seen.position(&request.group, &place), to, place, *bounds)),
                    None => {}
                },
            }
        }
    }
    (moves, refusals)
}

/// The topics in question.
pub(super) fn topics(request: &Request, found: &Found) -> BTreeSet<String> {
    if !request.topics.is_empty() {
        return request.topics.clone();
    }
    let mut topics = found.seen.topics_of(&request.group);
    topics.extend(found.own.iter().flat_map(|own| own.topics.iter().cloned()));
    topics
}

fn to(request: &Request, found: &Found, place: &Place, bounds: Bounds) -> Option<i64> {
    match &request.target {
        Target::Earliest => Some(bounds.first),
        Target::Latest => Some(bounds.end),
        Target::Time(_) | Target::Ago(_) => found.at.get(place).map(|at| at.unwrap_or(bounds.end)),
        Target::Offsets(offsets) => offsets.get(&place.partition).copied(),
    }
}

fn step(from: Option<i64>, to: i64, place: Place, bounds: Bounds) -> Move {
    // Where nothing was committed a consumer begins at the first message, as ClickHouse's do; so it does where what was
    // committed is deleted.
    let begins = from.unwrap_or(bounds.first).clamp(bounds.first, bounds.end);
    Move { place, from, to, again: (begins - to).max(0), skipped: (to - begins).max(0) }
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
