//! Checks before a takeover and before its reversal.

use std::collections::BTreeSet;

use crate::config::{Config, Consumer};
use crate::schema::{Feeder, SchemaPlan};

/// Reason why a takeover or its reversal is refused. Every variant means that no step ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TakeoverRefusal {
    /// No consumer of this name feeds the tables.
    #[error("no consumer {name} feeds these tables: posthouse schema plan lists all that do{}", listed(.known))]
    Unknown {
        name: String,
        /// The consumers that feed the tables.
        known: BTreeSet<String>,
    },
    /// The source is not a Kafka table.
    #[error(
        "{0} is no Kafka table, so its offsets can't be taken over: stop the program that fills it, or set consumer = \"none\" in the config"
    )]
    NotKafka(String),
    /// The consumer reads another topic or group.
    #[error(
        "{name} reads topic {topic} in group {group}, and the config has topic {own_topic} and group {own_group}: set events.topic and events.group to those of {name}, so that our consumer continues at its offsets"
    )]
    OtherGroup {
        name: String,
        topic: String,
        group: String,
        /// `events.topic` of the config.
        own_topic: String,
        /// `events.group` of the config.
        own_group: String,
    },
    /// The consumer keeps its offsets in Keeper.
    #[error(
        "{name} keeps its offsets in Keeper at {path}, where our consumer can't read them: leave ingestion to it with consumer = \"none\" in the config"
    )]
    InKeeper {
        name: String,
        /// Keeper path of the offsets.
        path: String,
    },
    /// Our consumer would begin at offsets in Keeper instead of the group's.
    #[error(
        "Keeper still has offsets at {path}, of replicas {replicas} without a table, and our consumer would begin there instead of at the group's offsets: remove them, or set another events.keeper_path"
    )]
    StaleOffsets {
        /// Our Keeper path.
        path: String,
        /// Replicas without a table.
        replicas: String,
    },
    /// Columns would be empty from the takeover on.
    #[error(
        "the view of {name} fills columns of {target} that this config does not, so they would be empty after the takeover: {columns}. Name them as [[events.columns]] in the config, or set events.profile = \"posthog\" for those of a PostHog; posthouse schema import writes either"
    )]
    LostColumns {
        name: String,
        /// Our table that the view writes.
        target: String,
        columns: String,
    },
    /// The consumer feeds other views.
    #[error(
        "{name} feeds {others} too, which would get no rows after the takeover: give these a Kafka table and a group of their own first"
    )]
    OtherViews { name: String, others: String },
    /// The config has `consumer = "none"`.
    #[error("the config has consumer = \"none\" in [events]: set it to \"own\" to take over")]
    NotWanted,
    /// The config has `consumer = "own"`.
    #[error(
        "set consumer = \"none\" in [events] of the config first, so that our consumer is not created again"
    )]
    StillWanted,
}

fn listed(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// Returns the feeders of all nodes that read `name`.
fn of<'p>(plans: &'p [SchemaPlan], name: &str) -> Result<Vec<&'p Feeder>, TakeoverRefusal> {
    let feeders = || plans.iter().flat_map(|plan| &plan.feeders);
    let found: Vec<&Feeder> = feeders().filter(|feeder| feeder.source == name).collect();
    let known = feeders().map(|feeder| feeder.source.clone()).collect();
    if found.is_empty() { Err(TakeoverRefusal::Unknown { name: name.to_owned(), known }) } else { Ok(found) }
}

/// Whether our consumer can take over from the consumer `name`.
pub(super) fn adoption(config: &Config, plans: &[SchemaPlan], name: &str) -> Result<(), TakeoverRefusal> {
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

/// Whether the consumer `name` can be reattached.
pub(super) fn hand_back(config: &Config, plans: &[SchemaPlan], name: &str) -> Result<(), TakeoverRefusal> {
    of(plans, name)?;
    match config.events.consumer {
        Consumer::None => Ok(()),
        Consumer::Own => Err(TakeoverRefusal::StillWanted),
    }
}
