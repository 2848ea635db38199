//! Text of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::Planned;
use crate::schema::{self, Action, ObjectDifference, SchemaChange, SchemaPlan, Unmanaged};
use crate::topics::groups::TopicReader;

pub(super) fn plan_text(planned: &Planned) -> String {
    let mut text = feeders_text(&planned.nodes) + &readers_text(&planned.readers);
    text.push_str(&schema::settings_text(&planned.settings));
    text.push_str(&changes_text(&planned.nodes));
    if !planned.steps.is_empty() {
        text.push_str("Steps of apply:\n");
        let width = planned.steps.len().to_string().len();
        for (number, step) in (1..).zip(&planned.steps) {
            text.push_str(&format!("  {number:>width$}  {}  {}\n", step.node, step.summary));
        }
        text.push('\n');
    }
    text + &unmanaged_text(&planned.nodes) + &summary(&planned.nodes)
}

/// Formats the other consumers of the tables, shown before all other text.
pub(super) fn feeders_text(plans: &[SchemaPlan]) -> String {
    let lines = |conflicts: bool| -> String {
        let feeders = plans.iter().flat_map(|plan| plan.feeders.iter().map(move |feeder| (plan, feeder)));
        let those = feeders.filter(|(_, feeder)| feeder.conflicts == conflicts);
        those.map(|(plan, feeder)| format!("  {}  {feeder}\n", plan.node)).collect()
    };
    let (conflicts, others) = (lines(true), lines(false));
    let mut text = String::new();
    if !conflicts.is_empty() {
        text.push_str("Another consumer feeds this cluster already; apply is refused until you choose:\n");
        text.push_str(&conflicts);
        text.push_str(
            "  consumer = \"none\" in [events] or [persons] leaves ingestion to it; apply --adopt CONSUMER takes over\n\n",
        );
    }
    if !others.is_empty() {
        text.push_str(&format!("Other consumers of these tables:\n{others}\n"));
    }
    let paused = plans.iter().flat_map(|plan| &plan.feeders).filter(|feeder| feeder.paused);
    let paused: BTreeSet<(&str, &str)> =
        paused.map(|feeder| (feeder.source.as_str(), feeder.view.as_str())).collect();
    for (source, view) in paused {
        text.push_str(&format!(
            "{source} is paused.\n  \
             To go back to it: consumer = \"none\" in [events], then posthouse schema apply --hand-back {source}\n  \
             To remove it: posthouse schema apply --yes-drop {source} --yes-drop {view}\n\n"
        ));
    }
    text
}

pub(super) fn changes_text(plans: &[SchemaPlan]) -> String {
    let mut text = String::new();
    for plan in plans.iter().filter(|plan| !plan.changes.is_empty()) {
        text.push_str(&format!("{}\n", plan.node));
        for change in &plan.changes {
            text.push_str(&change_text(change));
        }
        text.push('\n');
    }
    text
}

fn change_text(change: &SchemaChange) -> String {
    let (sign, action) = match &change.action {
        Action::CreateDatabase | Action::Create { .. } => ('+', "missing".to_owned()),
        Action::Upgrade { .. } => ('+', "upgrade pending".to_owned()),
        Action::Recreate { .. } => ('~', "dropped and recreated".to_owned()),
        Action::Drop => ('-', "dropped: the config leaves ingestion to another consumer or node".to_owned()),
        Action::Alter { .. } => ('~', "altered".to_owned()),
        Action::Rename { from, .. } => ('~', format!("renamed from {from}")),
        Action::Leave { next_step, .. } => ('!', next_step.clone()),
    };
    let mut text = format!("  {sign} {:<27} {action}\n", change.object);
    if let Action::Create { replay: Some(reason), .. } | Action::Recreate { replay: Some(reason), .. } =
        &change.action
    {
        text.push_str(&format!("      {reason}\n"));
    }
    for difference in &change.differences {
        text.push_str(&difference_text(difference));
    }
    text
}

/// Shows only the lines that one side has and the other lacks. Whole clauses would hide the one
/// word that differs.
fn difference_text(difference: &ObjectDifference) -> String {
    let lines = |side: &Option<String>| {
        side.iter().flat_map(|text| text.lines()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (wanted, found) = (lines(&difference.wanted), lines(&difference.found));
    let only = |sign: char, here: &[String], there: &[String]| -> String {
        here.iter()
            .filter(|line| !there.contains(line))
            .map(|line| format!("        {sign} {}\n", line.trim()))
            .collect()
    };
    format!("      {}\n{}{}", difference.part, only('-', &found, &wanted), only('+', &wanted, &found))
}

/// Formats the groups of other programs, and of tables that feed none of ours.
pub(super) fn readers_text(readers: &[TopicReader]) -> String {
    let lines = readers.iter().map(|TopicReader { group, members, lag }| {
        format!("  group {group}, {members} members, lag {lag}\n")
    });
    let lines: String = lines.collect();
    match lines.is_empty() {
        true => lines,
        false => format!(
            "Other consumer groups of the events topic; check whether one of them inserts into these tables:\n{lines}\n"
        ),
    }
}

/// Formats the parts that differ and stay, one line per object.
pub(super) fn unmanaged_text(plans: &[SchemaPlan]) -> String {
    let mut objects: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for plan in plans {
        let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Unmanaged { object, part, .. } in &plan.unmanaged {
            parts.entry(object).or_default().push(part);
        }
        for (object, parts) in parts {
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            objects.entry((object, parts.join(", "))).or_default().push(&plan.node);
        }
    }
    let mut text = String::new();
    for ((object, parts), nodes) in &objects {
        let separator = if parts.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "  {object}{separator}{parts} ({})", nodes.join(", "));
    }
    if text.is_empty() {
        return text;
    }
    format!("Unmanaged, left as they are:\n{text}{}\n", droppable_text(plans))
}

/// Names the option that drops a column which the config has lost.
fn droppable_text(plans: &[SchemaPlan]) -> String {
    let options =
        schema::droppable_columns(plans).into_iter().map(|column| format!(" --drop-column '{column}'"));
    let options: String = options.collect();
    match options.is_empty() {
        true => options,
        false => format!(
            "  Materialized columns that the config lacks; to drop one or more: posthouse schema apply{options}\n"
        ),
    }
}

/// Formats the last line: the number of differences, and the confirmations needed.
pub(super) fn summary(plans: &[SchemaPlan]) -> String {
    let differing = plans.iter().filter(|plan| !plan.changes.is_empty()).count();
    let changes: usize = plans.iter().map(|plan| plan.changes.len()).sum();
    let confirmations = schema::confirmations(plans);
    match (changes, confirmations.len()) {
        (0, _) => format!("all {} nodes match the config", plans.len()),
        (_, 0) => format!("{changes} differences on {differing} of {} nodes", plans.len()),
        (_, count) => format!(
            "{changes} differences on {differing} of {} nodes, {count} to confirm: {}",
            plans.len(),
            schema::joined(&confirmations)
        ),
    }
}
