//! Whether a foreign consumer can be taken over or brought back.

use std::collections::BTreeSet;

use crate::config::{Config, Consumer};
use crate::schema::{Feeder, Plan};

/// Why a takeover or its return is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeoverRefusal {
    /// No such consumer.
    #[error("no consumer {name} feeds these tables: posthouse schema plan names those that do{}", listed(.known))]
    Unknown {
        /// As it was given.
        name: String,
        /// Those that do.
        known: BTreeSet<String>,
    },
    /// It is not a Kafka table.
    #[error(
        "{0} is no Kafka table, so its offsets can't be taken over: stop what fills it, or set consumer = \"none\" in the config"
    )]
    NotKafka(String),
    /// It reads in another group.
    #[error(
        "{name} reads topic {topic} in group {group}, and the config has topic {own_topic} and group {own_group}: set events.topic and events.group to those of {name}, so that ours begins where it ends"
    )]
    OtherGroup {
        /// The consumer.
        name: String,
        /// Its topics.
        topic: String,
        /// Its group.
        group: String,
        /// The config's.
        own_topic: String,
        /// The config's.
        own_group: String,
    },
    /// Its offsets are in Keeper.
    #[error(
        "{name} keeps its offsets in Keeper at {path}, which ours would not find: leave ingestion to it with consumer = \"none\" in the config"
    )]
    InKeeper {
        /// The consumer.
        name: String,
        /// Where.
        path: String,
    },
    /// Ours would begin elsewhere.
    #[error(
        "Keeper still has offsets at {path}, of replicas {replicas} without a table, and ours would begin there instead of at the group's: remove them, or set another events.keeper_path"
    )]
    StaleOffsets {
        /// Our path.
        path: String,
        /// The replicas.
        replicas: String,
    },
    /// Columns would be empty from then on.
    #[error(
        "the view of {name} fills columns of {target} that this config does not, so they would be empty from then on: {columns}. Name them as [[events.columns]] in the config; posthouse schema import writes them"
    )]
    LostColumns {
        /// The consumer.
        name: String,
        /// Our table.
        target: String,
        /// The columns.
        columns: String,
    },
    /// It has other views.
    #[error(
        "{name} feeds {others} too, which would get nothing from then on: give these a Kafka table and a group of their own first"
    )]
    OtherViews {
        /// The consumer.
        name: String,
        /// Its other views.
        others: String,
    },
    /// The config leaves ingestion to others.
    #[error("the config has consumer = \"none\" in [events]: set it to \"own\" to take over")]
    NotWanted,
    /// The config has ours.
    #[error("set consumer = \"none\" in [events] of the config first, so that ours is not made again")]
    StillWanted,
}

fn listed(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// The feeders of all nodes that come from `name`.
fn of<'p>(plans: &'p [Plan], name: &str) -> Result<Vec<&'p Feeder>, TakeoverRefusal> {
    let feeders = || plans.iter().flat_map(|plan| &plan.feeders);
    let found: Vec<&Feeder> = feeders().filter(|feeder| feeder.source == name).collect();
    let known = feeders().map(|feeder| feeder.source.clone()).collect();
    if found.is_empty() { Err(TakeoverRefusal::Unknown { name: name.to_owned(), known }) } else { Ok(found) }
}

/// Whether ours can take over from the consumer called `name`.
pub(super) fn adoption(config: &Config, plans: &[Plan], name: &str) -> Result<(), TakeoverRefusal> {
    let feeders = of(plans, name)?;
    if config.events.consumer == Consumer::None {
        return Err(TakeoverRefusal::NotWanted);
    }
    for feeder in feeders {
        judge(config, feeder)?;
    }
    Ok(())
}

fn judge(config: &Config, feeder: &Feeder) -> Result<(), TakeoverRefusal> {
    let name = feeder.source.clone();
    if !feeder.others.is_empty() {
        return Err(TakeoverRefusal::OtherViews { name, others: feeder.others.join(", ") });
    }
    if !feeder.lost.is_empty() {
        let (target, columns) = (feeder.target.clone(), feeder.lost.join(", "));
        return Err(TakeoverRefusal::LostColumns { name, target, columns });
    }
    let table = match (&feeder.consumer, feeder.paused) {
        (_, true) => return Ok(()),
        (None, false) => return Err(TakeoverRefusal::NotKafka(name)),
        (Some(table), false) => table,
    };
    let events = &config.events;
    if table.topics != [events.topic.as_str()] || table.group != events.group {
        return Err(TakeoverRefusal::OtherGroup {
            name,
            topic: table.topics.join(","),
            group: table.group.clone(),
            own_topic: events.topic.clone(),
            own_group: events.group.clone(),
        });
    }
    match &table.keeper_path {
        Some(path) => Err(TakeoverRefusal::InKeeper { name, path: path.clone() }),
        None => Ok(()),
    }
}

/// Whether the consumer called `name` can be brought back.
pub(super) fn hand_back(config: &Config, plans: &[Plan], name: &str) -> Result<(), TakeoverRefusal> {
    of(plans, name)?;
    match config.events.consumer {
        Consumer::None => Ok(()),
        Consumer::Own => Err(TakeoverRefusal::StillWanted),
    }
}
