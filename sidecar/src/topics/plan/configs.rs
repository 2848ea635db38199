//! Plan of one topic's configs: changes and refusals.

use std::collections::BTreeMap;

use super::super::spec::Topic;
use super::retention::{RETENTION, is_limit, step};
use super::values::{duration, same, shown};
use super::{Options, Step, TopicChange, TopicVerdict};
use crate::config::reader::most_alike;
use crate::kafka::{ConfigOrigin, Layout, TopicConfig};

/// Number of brokers that must have a message before its producer gets an acknowledgement.
const MIN_IN_SYNC: &str = "min.insync.replicas";
/// Numeric configs that make brokers delete messages. Brokers read more forms of a number than they
/// write: surrounding spaces, digits of any script.
const NUMBERS: [&str; 2] = [RETENTION, "retention.bytes"];

/// Compares the desired configs with the effective ones.
pub(super) fn compare(
    topic: &Topic,
    layout: &Layout,
    observed: Option<&BTreeMap<String, TopicConfig>>,
    options: &Options,
    verdict: &mut TopicVerdict,
) {
    check_min_isr(topic, layout.replication_factor(), verdict);
    let Some(observed) = observed else {
        return verdict.refuse("its configs can't be read", "plan again; a deletion may be in progress");
    };
    for (key, wanted) in &topic.config {
        match observed.get(key) {
            None => {
                let alike = most_alike(key, observed.keys().map(String::as_str));
                let alike = alike.map(|alike| format!(" (did you mean {alike}?)")).unwrap_or_default();
                verdict.refuse(
                    format!("the brokers know no config {key}{alike}"),
                    "correct its name in the topics file",
                );
            }
            Some(found) => set(topic, key, found, wanted, options, verdict),
        }
    }
    if options.prune {
        let own = observed
            .iter()
            .filter(|(key, config)| config.source == ConfigOrigin::Topic && !topic.config.contains_key(*key));
        for (key, from) in own {
            reset(topic, key, from, options, verdict);
        }
    }
}

/// Refuses a `min.insync.replicas` above the replication factor.
pub(super) fn check_min_isr(topic: &Topic, copies: usize, verdict: &mut TopicVerdict) {
    let least = topic.config.get(MIN_IN_SYNC).and_then(|value| value.parse::<usize>().ok());
    if let Some(least) = least.filter(|least| *least > copies) {
        verdict.refuse(
            format!(
                "{MIN_IN_SYNC} = {least} can't be met with {copies} {}: every producer with acks=all would fail",
                if copies == 1 { "copy" } else { "copies" }
            ),
            format!("write {MIN_IN_SYNC} = {} or less", copies.saturating_sub(1).max(1)),
        );
    }
}

fn set(
    topic: &Topic,
    key: &str,
    found: &TopicConfig,
    wanted: &str,
    options: &Options,
    verdict: &mut TopicVerdict,
) {
    let is_same = found.value.as_deref().is_some_and(|value| same(value, wanted));
    if is_same && found.source == ConfigOrigin::Topic {
        return;
    }
    let change = |to: &str| TopicChange::SetConfig {
        name: topic.name.clone(),
        key: key.to_owned(),
        from: found.clone(),
        to: to.to_owned(),
    };
    if NUMBERS.contains(&key) && wanted.parse::<i64>().is_err() {
        return verdict.refuse(
            format!("{key} = {wanted:?} is no whole number in digits, so its effect is unknown"),
            "write it as one, such as 604800000",
        );
    }
    let now = found.value.as_deref().unwrap_or_default();
    let is_confirmed = is_same || options.yes_loss.contains(&topic.name);
    if let Some(loss) = data_loss_reason(key, now, wanted).filter(|_| !is_confirmed) {
        return verdict.refuse(
            format!("{key} {} → {}: {loss}", shown(key, now), shown(key, wanted)),
            format!("confirm it with --yes-loss {}", topic.name),
        );
    }
    let mut planned = Step::from(change(wanted));
    planned.warnings.extend(warning(key, now, wanted));
    if let (RETENTION, Ok(from), Ok(to)) = (key, now.parse(), wanted.parse()) {
        match step(from, to, options.retention_drop) {
            Some(step) if step.left > 0 => {
                planned = Step::from(change(&step.next.to_string()));
                planned.towards = Some(wanted.to_owned());
                planned.warnings.push(format!(
                    "a step of {}; {} more lead to {}: apply again once the brokers have deleted the messages of this one",
                    duration(from - step.next),
                    step.left,
                    shown(key, wanted)
                ));
            }
            _ => {}
        }
    }
    verdict.steps.push(planned);
}

fn reset(topic: &Topic, key: &str, from: &TopicConfig, options: &Options, verdict: &mut TopicVerdict) {
    // The value that replaces it is known only after the reset.
    let deletes =
        ["retention.ms", "retention.bytes", "cleanup.policy", "remote.storage.enable"].contains(&key);
    if deletes && !options.yes_loss.contains(&topic.name) {
        return verdict.refuse(
            format!("{key} would be left to the brokers, whose value may delete messages"),
            format!("name it in the topics file, or confirm it with --yes-loss {}", topic.name),
        );
    }
    let (name, key) = (topic.name.clone(), key.to_owned());
    verdict.steps.push(TopicChange::ResetConfig { name, key, from: from.clone() }.into());
}

/// Reason why a change lets the brokers delete messages at once, if it does.
fn data_loss_reason(key: &str, now: &str, wanted: &str) -> Option<&'static str> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    // Same rule as in the broker.
    let is_true = |text: &str| text.trim().eq_ignore_ascii_case("true");
    match key {
        RETENTION if !number(now).is_some_and(is_limit) && number(wanted).is_some_and(is_limit) => {
            Some("there was no limit, so the amount deleted at once is unknown")
        }
        "retention.bytes" => {
            let (now, wanted) = (number(now).unwrap_or(-1), number(wanted)?);
            (wanted >= 0 && (now < 0 || wanted < now))
                .then_some("the brokers delete messages above it at once")
        }
        // Only the two configs together delete remote data.
        "remote.storage.enable" if !is_true(wanted) && is_true(now) => {
            Some("the brokers can delete the messages in remote storage")
        }
        "remote.log.delete.on.disable" if is_true(wanted) => {
            Some("the brokers delete the messages in remote storage once it is disabled")
        }
        "cleanup.policy" => Some(if wanted.contains("compact") {
            "compaction keeps one message a key, and refuses messages without one"
        } else {
            "the brokers start to delete messages older than the retention"
        }),
        _ => None,
    }
}

/// Side effect of a change, if it has one.
fn warning(key: &str, now: &str, wanted: &str) -> Option<String> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    match key {
        "max.message.bytes" if number(wanted)? < number(now)? => {
            Some("producers of larger messages fail from now on".to_owned())
        }
        MIN_IN_SYNC if number(wanted)? > number(now)? => {
            Some("producers with acks=all wait for more brokers, and fail with fewer".to_owned())
        }
        "unclean.leader.election.enable" if wanted.trim().eq_ignore_ascii_case("true") => {
            Some("a broker that lacks messages may become leader, and they are lost".to_owned())
        }
        _ => None,
    }
}
