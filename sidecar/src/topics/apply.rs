//! Does a plan: creates what is missing, tells the outcome of each topic, and waits until brokers show them.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::observe::{Admin, connect, topics};
use super::{Change, KafkaError, Topic, broker_list};
use crate::config::Kafka;

/// How long the controller may take to create topics: it writes each partition to its log, which takes
/// milliseconds, or seconds for thousands of them.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long other brokers may take to hear of a new topic.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks; brokers hear of topics within milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How one change went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// posthouse created it, and the brokers show it.
    Created,
    /// Somebody else created it in the meantime.
    AlreadyThere,
    /// It was not created, or not shown in time.
    Failed {
        /// What went wrong, and what to do.
        reason: String,
    },
}

/// The outcome of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicOutcome {
    /// The topic.
    pub topic: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Does `changes`, each for itself: one that fails does not keep the others from being done.
///
/// # Errors
/// [`KafkaError`] if the request failed as a whole; what failed for one topic is in its outcome.
pub async fn apply(kafka: &Kafka, changes: &[Change]) -> Result<Vec<TopicOutcome>, KafkaError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let admin = connect(kafka)?;
    let new: Vec<NewTopic<'_>> = changes.iter().map(|Change::Create(topic)| new_topic(topic)).collect();
    let options =
        AdminOptions::new().operation_timeout(Some(CREATE_TIMEOUT)).request_timeout(Some(CREATE_TIMEOUT));
    let results = admin.create_topics(&new, &options).await.map_err(|source| KafkaError::Failed {
        brokers: broker_list(kafka),
        task: "create topics",
        source,
    })?;
    let mut outcomes: Vec<TopicOutcome> = results
        .into_iter()
        .map(|result| match result {
            Ok(topic) => TopicOutcome { topic, outcome: Outcome::Created },
            Err((topic, code)) => TopicOutcome { topic, outcome: refused(code) },
        })
        .collect();
    wait_until_visible(&admin, kafka, &mut outcomes).await?;
    Ok(outcomes)
}

fn new_topic(topic: &Topic) -> NewTopic<'_> {
    let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topic.replication_factor));
    topic.config.iter().fold(new, |new, (key, value)| new.set(key, value))
}

fn refused(code: RDKafkaErrorCode) -> Outcome {
    let next = match code {
        RDKafkaErrorCode::TopicAlreadyExists => return Outcome::AlreadyThere,
        RDKafkaErrorCode::InvalidReplicationFactor => "there are fewer brokers than replication_factor",
        RDKafkaErrorCode::InvalidConfig => "check the names and values of its config",
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "let this client create topics"
        }
        RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::OperationTimedOut => {
            "it may exist all the same: look again with posthouse topics plan"
        }
        _ => "the broker's log tells more",
    };
    Outcome::Failed { reason: format!("{code}: {next}") }
}

/// Until every created topic is in the metadata; what is not there in time becomes a failure.
async fn wait_until_visible(
    admin: &Admin,
    kafka: &Kafka,
    outcomes: &mut [TopicOutcome],
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + VISIBLE_TIMEOUT;
    loop {
        let visible = topics(admin, kafka).await?;
        let hidden: Vec<&mut TopicOutcome> = outcomes
            .iter_mut()
            .filter(|done| done.outcome == Outcome::Created && !visible.contains_key(&done.topic))
            .collect();
        if hidden.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            for done in hidden {
                let seconds = VISIBLE_TIMEOUT.as_secs();
                let reason =
                    format!("created, but no broker shows it after {seconds} s: look at the brokers' logs");
                done.outcome = Outcome::Failed { reason };
            }
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_race_is_no_failure_and_a_failure_says_what_to_do() {
        assert_eq!(refused(RDKafkaErrorCode::TopicAlreadyExists), Outcome::AlreadyThere);
        let Outcome::Failed { reason } = refused(RDKafkaErrorCode::InvalidReplicationFactor) else {
            panic!("a failure")
        };
        assert!(reason.ends_with("fewer brokers than replication_factor"), "{reason}");
    }

    #[test]
    fn outcomes_are_flat_json() {
        let done = TopicOutcome { topic: "a".to_owned(), outcome: Outcome::AlreadyThere };
        assert_eq!(
            serde_json::to_string(&done).ok().as_deref(),
            Some(r#"{"topic":"a","outcome":"already_there"}"#)
        );
    }
}
