//! Rights that a request needs, for a user whom the brokers deny it.

use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;

use super::Brokers;

/// Kind of the resource of a right, as options of `kafka-acls` name it.
#[derive(Clone, Copy)]
enum Resource {
    Topic,
    Group,
    Cluster,
}

/// The topic and the group of a request, if it has one of each.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::kafka) struct Requested<'r> {
    pub(in crate::kafka) topic: Option<&'r str>,
    pub(in crate::kafka) group: Option<&'r str>,
}

impl<'r> Requested<'r> {
    pub(in crate::kafka) fn topic(topic: &'r str) -> Self {
        Self { topic: Some(topic), group: None }
    }

    pub(in crate::kafka) fn group(group: &'r str) -> Self {
        Self { topic: None, group: Some(group) }
    }
}

/// Returns the missing right and the command that gives it; `None` if the error is another one.
pub(in crate::kafka) fn denial(
    brokers: &Brokers,
    task: &str,
    requested: Requested<'_>,
    error: &LibraryError,
) -> Option<String> {
    let denied = match error_code(error)? {
        RDKafkaErrorCode::TopicAuthorizationFailed => Resource::Topic,
        RDKafkaErrorCode::GroupAuthorizationFailed => Resource::Group,
        RDKafkaErrorCode::ClusterAuthorizationFailed => Resource::Cluster,
        _ => return None,
    };
    let operation = match (task, denied) {
        ("describe the configs of topics", _) => "DescribeConfigs",
        ("commit a group's offsets", _) => "Read",
        (
            "read a topic"
            | "read a topic to its end"
            | "read a topic's newest messages"
            | "read a message of each partition",
            _,
        ) => "Read",
        _ => "Describe",
    };
    let named = match denied {
        Resource::Topic => requested.topic,
        Resource::Group => requested.group,
        Resource::Cluster => None,
    };
    let (resource, option) = match (denied, named) {
        (Resource::Topic, Some(topic)) => (format!("topic {topic}"), format!("--topic {topic}")),
        (Resource::Group, Some(group)) => (format!("group {group}"), format!("--group {group}")),
        (Resource::Topic, None) => ("the topic".to_owned(), "--topic TOPIC".to_owned()),
        (Resource::Group, None) => ("the group".to_owned(), "--group GROUP".to_owned()),
        (Resource::Cluster, _) => ("the cluster".to_owned(), "--cluster".to_owned()),
    };
    Some(format!("this user needs {operation} on {resource}: {}", command(brokers, operation, &option)))
}

/// The library's code in an error. The crate leaves it out for admin requests.
pub(in crate::kafka) fn error_code(error: &LibraryError) -> Option<RDKafkaErrorCode> {
    match error {
        LibraryError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The command that gives the user of the config a right.
fn command(brokers: &Brokers, operation: &str, option: &str) -> String {
    let user = brokers.access.login.as_ref().map(|login| login.user.as_str()).filter(|user| !user.is_empty());
    format!(
        "kafka-acls --bootstrap-server {} --add --allow-principal User:{} --operation {operation} {option}",
        brokers.list(),
        user.unwrap_or("NAME"),
    )
}
