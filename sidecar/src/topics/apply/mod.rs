//! Execution of a plan's steps, with a check on the brokers.

pub(crate) mod lock;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use self::lock::Lock;
use super::plan::values::same;
use super::plan::{Step, TopicChange};
use crate::kafka::{Client, ConfigChange, ConfigOrigin, KafkaError, NewTopic, Refusal};

/// How long a change may take to reach the other brokers.
const VISIBLE_LIMIT: Duration = Duration::from_secs(15);
/// Interval between two checks. Changes reach other brokers within milliseconds.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Result of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum StepOutcome {
    /// Executed, and visible on the brokers.
    Done,
    /// Another process did it in the meantime.
    AlreadyDone,
    /// Not executed, or not visible in time.
    Failed {
        /// The error with a hint.
        reason: String,
    },
}

/// A step with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AppliedStep {
    #[serde(flatten)]
    pub(crate) step: Step,
    #[serde(flatten)]
    pub(crate) outcome: StepOutcome,
}

/// Executes the steps in order. A failed step ends its own topic; other topics go on.
///
/// # Errors
/// Fails if the lock is lost, or a request fails as a whole. Finished steps stay, and a new plan
/// has the rest. The failure of one topic is in its outcome.
pub(crate) async fn apply(client: &Client, lock: &Lock, steps: &[Step]) -> anyhow::Result<Vec<AppliedStep>> {
    let mut applied: Vec<AppliedStep> = Vec::new();
    let mut failed = BTreeSet::new();
    let phases: Vec<&[Step]> = steps.chunk_by(|a, b| kind(&a.change) == kind(&b.change)).collect();
    for phase in phases {
        // A process that slept may have lost the lock.
        lock.check().await?;
        let (given_up, phase): (Vec<&Step>, Vec<&Step>) =
            phase.iter().partition(|step| failed.contains(step.change.topic()));
        let mut outcomes: Vec<AppliedStep> = given_up
            .into_iter()
            .map(|step| {
                (step, StepOutcome::Failed { reason: "an earlier step of this topic failed".to_owned() })
            })
            .map(|(step, outcome)| AppliedStep { step: step.clone(), outcome })
            .collect();
        outcomes.extend(ask(client, &phase).await?);
        wait_until_visible(client, &mut outcomes).await?;
        let left_over = left_over(client, &outcomes).await?;
        if !left_over.is_empty() {
            // It may have taken a while until the topics were visible.
            lock.check().await?;
            let mut reset = ask(client, &left_over.iter().collect::<Vec<_>>()).await?;
            wait_until_visible(client, &mut reset).await?;
            outcomes.extend(reset);
        }
        for outcome in &outcomes {
            if matches!(outcome.outcome, StepOutcome::Failed { .. }) {
                failed.insert(outcome.step.change.topic().to_owned());
            }
        }
        applied.extend(outcomes);
    }
    Ok(applied)
}

/// Steps of one kind go to the brokers in one request. Sets and resets are of one kind.
fn kind(change: &TopicChange) -> u8 {
    match change {
        TopicChange::Create(_) => 0,
        TopicChange::AddPartitions { .. } => 1,
        TopicChange::SetConfig { .. } | TopicChange::ResetConfig { .. } => 2,
        TopicChange::Delete { .. } => 3,
    }
}

/// Sends steps of one kind.
async fn ask(client: &Client, steps: &[&Step]) -> Result<Vec<AppliedStep>, KafkaError> {
    let mut creations: Vec<NewTopic> = Vec::new();
    let mut partitions = BTreeMap::new();
    let mut configs: BTreeMap<String, Vec<ConfigChange>> = BTreeMap::new();
    let mut deletions = Vec::new();
    for step in steps {
        match step.change.clone() {
            TopicChange::Create(topic) => creations.push(topic),
            TopicChange::AddPartitions { name, to, .. } => _ = partitions.insert(name, to),
            TopicChange::SetConfig { name, key, to, .. } => {
                configs.entry(name).or_default().push(ConfigChange::Set { key, value: to });
            }
            TopicChange::ResetConfig { name, key, .. } => {
                configs.entry(name).or_default().push(ConfigChange::Reset { key });
            }
            TopicChange::Delete { name, .. } => deletions.push(name),
        }
    }
    let mut answers = BTreeMap::new();
    if !creations.is_empty() {
        answers.extend(client.create_topics(creations).await?);
    }
    if !partitions.is_empty() {
        answers.extend(client.create_partitions(partitions).await?);
    }
    if !configs.is_empty() {
        let made_known = made_known(steps);
        if !made_known.is_empty() {
            answers.extend(client.alter_configs(made_known).await?);
        }
        // A config that failed in the request above fails here for the same reason.
        answers.extend(client.alter_configs(configs).await?);
    }
    if !deletions.is_empty() {
        answers.extend(client.delete_topics(deletions).await?);
    }
    let outcome = |step: &&Step| {
        let outcome = match answers.get(step.change.topic()) {
            Some(Ok(())) => StepOutcome::Done,
            Some(Err(refusal)) => refused(&step.change, refusal),
            None => {
                StepOutcome::Failed { reason: "the brokers did not answer for it: plan again".to_owned() }
            }
        };
        AppliedStep { step: (*step).clone(), outcome }
    };
    Ok(steps.iter().map(outcome).collect())
}

/// Returns resets of configs that a new topic has and that its creation did not set. They are left
/// over from a deleted topic of the same name, see [`made_known`].
async fn left_over(client: &Client, outcomes: &[AppliedStep]) -> Result<Vec<Step>, KafkaError> {
    let created = outcomes.iter().filter(|applied| applied.outcome == StepOutcome::Done);
    let created: BTreeMap<&str, &NewTopic> = created
        .filter_map(|applied| match &applied.step.change {
            TopicChange::Create(topic) => Some((topic.name.as_str(), topic)),
            _ => None,
        })
        .collect();
    if created.is_empty() {
        return Ok(Vec::new());
    }
    let configs = client.configs(&created.keys().map(|name| (*name).to_owned()).collect()).await?;
    let mut steps = Vec::new();
    for (name, topic) in created {
        let own = configs.get(name).into_iter().flatten();
        let own = own.filter(|(key, config)| {
            config.source == ConfigOrigin::Topic && !topic.configs.contains_key(*key)
        });
        for (key, from) in own {
            let (name, key) = (name.to_owned(), key.clone());
            let mut step = Step::from(TopicChange::ResetConfig { name, key, from: from.clone() });
            step.warnings.push("a broker kept it from a deleted topic of this name".to_owned());
            steps.push(step);
        }
    }
    Ok(steps)
}

/// Sets configs to their effective value before they are reset. A restarted broker may hold configs
/// of a topic that was deleted and recreated. The controller does not know them, so it ignores a
/// reset (Kafka 4.1.1, seen by `make torture TEST=topics_apply`).
fn made_known(steps: &[&Step]) -> BTreeMap<String, Vec<ConfigChange>> {
    let mut known: BTreeMap<String, Vec<ConfigChange>> = BTreeMap::new();
    for step in steps {
        if let TopicChange::ResetConfig { name, key, from } = &step.change
            && let Some(value) = from.value.clone()
        {
            known.entry(name.clone()).or_default().push(ConfigChange::Set { key: key.clone(), value });
        }
    }
    known
}

fn refused(change: &TopicChange, refusal: &Refusal) -> StepOutcome {
    let next = match (refusal.code, change) {
        (RDKafkaErrorCode::TopicAlreadyExists, TopicChange::Create(_))
        | (RDKafkaErrorCode::UnknownTopicOrPartition, TopicChange::Delete { .. }) => {
            return StepOutcome::AlreadyDone;
        }
        (RDKafkaErrorCode::InvalidReplicationFactor, _) => {
            "fewer brokers are up than replication_factor".to_owned()
        }
        (RDKafkaErrorCode::InvalidConfig, _) => "correct its config in the topics file".to_owned(),
        (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed, _) => {
            let (operation, alternative) = right(change);
            let topic = change.topic();
            format!(
                "this user needs the right {operation} on topic {topic}{alternative}: \
                 kafka-acls --add --allow-principal User:NAME --operation {operation} --topic {topic}"
            )
        }
        (RDKafkaErrorCode::TopicDeletionDisabled, _) => "set delete.topic.enable on the brokers".to_owned(),
        _ if refusal.is_in_doubt() => "it may have been executed: plan again".to_owned(),
        _ => "see the broker's log".to_owned(),
    };
    StepOutcome::Failed { reason: format!("{refusal}: {next}") }
}

/// The operation on the topic that Kafka's authorizer requires, and an alternative to it.
fn right(change: &TopicChange) -> (&'static str, &'static str) {
    match change {
        TopicChange::Create(_) => ("Create", " or on the cluster, or Describe on it if it exists"),
        TopicChange::AddPartitions { .. } => ("Alter", ""),
        TopicChange::SetConfig { .. } | TopicChange::ResetConfig { .. } => ("AlterConfigs", ""),
        TopicChange::Delete { .. } => ("Delete", ""),
    }
}

/// Waits until the brokers show every executed step. A step that is not visible in time becomes a
/// failure.
async fn wait_until_visible(client: &Client, outcomes: &mut [AppliedStep]) -> Result<(), KafkaError> {
    let deadline = Instant::now() + VISIBLE_LIMIT;
    loop {
        let hidden = hidden(client, outcomes).await?;
        if hidden.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            for index in hidden {
                let seconds = VISIBLE_LIMIT.as_secs();
                let topic = outcomes[index].step.change.topic();
                let reason = format!(
                    "done, but no broker shows it after {seconds} s: see the brokers' logs, or give this user Describe \
                     on topic {topic}: kafka-acls --add --allow-principal User:NAME --operation Describe --topic {topic}"
                );
                outcomes[index].outcome = StepOutcome::Failed { reason };
            }
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Indexes of steps that are executed and not visible.
async fn hidden(client: &Client, outcomes: &[AppliedStep]) -> Result<Vec<usize>, KafkaError> {
    let done = |applied: &AppliedStep| applied.outcome == StepOutcome::Done;
    if !outcomes.iter().any(done) {
        return Ok(Vec::new());
    }
    let cluster = client.cluster().await?;
    let configured = outcomes.iter().filter(|applied| done(applied) && kind(&applied.step.change) == 2);
    let names = configured.map(|applied| applied.step.change.topic().to_owned()).collect();
    let configs = client.configs(&names).await?;
    let is_shown = |change: &TopicChange| {
        let topic = cluster.topics.get(change.topic());
        let config = |key: &str| configs.get(change.topic())?.get(key);
        match change {
            TopicChange::Create(_) => topic.is_some(),
            TopicChange::AddPartitions { to, .. } => topic.is_some_and(|topic| topic.partitions.len() >= *to),
            TopicChange::Delete { .. } => topic.is_none(),
            TopicChange::SetConfig { key, to, .. } => config(key).is_some_and(|config| {
                // A value that the broker hides can't be compared.
                config.source == ConfigOrigin::Topic
                    && config.value.as_ref().is_none_or(|value| same(value, to))
            }),
            TopicChange::ResetConfig { key, .. } => {
                config(key).is_some_and(|config| config.source != ConfigOrigin::Topic)
            }
        }
    };
    let places = outcomes.iter().enumerate();
    let hidden = places.filter(|(_, applied)| done(applied) && !is_shown(&applied.step.change));
    Ok(hidden.map(|(place, _)| place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: RDKafkaErrorCode) -> Refusal {
        Refusal { code, message: String::new() }
    }

    #[test]
    fn a_lost_race_is_no_failure_and_a_failure_says_what_to_do() {
        let new =
            NewTopic { name: "a".to_owned(), partitions: 1, replication_factor: 3, configs: BTreeMap::new() };
        let create = TopicChange::Create(new);
        let exists = refusal(RDKafkaErrorCode::TopicAlreadyExists);
        assert_eq!(refused(&create, &exists), StepOutcome::AlreadyDone);
        let cases = [
            (RDKafkaErrorCode::InvalidReplicationFactor, "fewer brokers are up than replication_factor"),
            (
                RDKafkaErrorCode::TopicAuthorizationFailed,
                "kafka-acls --add --allow-principal User:NAME --operation Create --topic a",
            ),
            (RDKafkaErrorCode::RequestTimedOut, "may have been executed: plan again"),
        ];
        for (code, end) in cases {
            let StepOutcome::Failed { reason } = refused(&create, &refusal(code)) else {
                panic!("a failure")
            };
            assert!(reason.ends_with(end), "{reason}");
        }
    }

    #[test]
    fn outcomes_are_flat_json() {
        let step = Step::from(TopicChange::Delete { name: "a".to_owned(), partitions: 2 });
        let done = AppliedStep { step, outcome: StepOutcome::AlreadyDone };
        assert_eq!(
            serde_json::to_string(&done).ok().as_deref(),
            Some(r#"{"change":"delete","name":"a","partitions":2,"warnings":[],"outcome":"already_done"}"#)
        );
    }
}
