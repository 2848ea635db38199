//! Groups of the newer protocol (KIP-848), with state and members.
//!
//! librdkafka's list has them as dead and without members. Brokers know the request since 3.7.

use std::collections::BTreeMap;
use std::io;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{self, DescribedGroup};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, FindCoordinatorRequest};
use kafka_protocol::protocol::StrBytes;
use rdkafka::client::Client as LibraryClient;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;

use super::group::{Group, Member};
use super::wire::{Connection, WireAccess, refused};
use super::{ANSWER_LIMIT, LibraryContext};

/// Versions that every broker with groups of the newer protocol supports.
const FIND_COORDINATOR: i16 = 4;
const CONSUMER_GROUP_DESCRIBE: i16 = 0;
/// Groups per request: an answer has all members and their partitions.
const DESCRIBED_AT_ONCE: usize = 100;

/// Names of groups by host and port of their coordinator.
type NamesByBroker = BTreeMap<(String, u16), Vec<StrBytes>>;

/// Fills in the groups that the list does not report. A group stays as it is if it has yet another
/// protocol, if the brokers are too old, or if this user lacks the right.
///
/// # Errors
/// Fails while a coordinator is elected, so that the caller retries.
pub(super) fn describe(
    library: &LibraryClient<LibraryContext>,
    access: &WireAccess<'_>,
    groups: &mut [Group],
) -> Result<(), LibraryError> {
    let unreported = groups.iter().filter(|group| group.is_unreported());
    let names: Vec<StrBytes> = unreported.map(|group| group.name.clone().into()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut described = BTreeMap::new();
    for ((host, port), names) in coordinators(library, access, &names)? {
        match Connection::open(&host, port, access).and_then(|connection| ask(connection, &names)) {
            Ok(answers) => answers.into_iter().for_each(|group| {
                described.insert(group.group_id.to_string(), group);
            }),
            Err(error) => tracing::debug!(%host, port, %error, "broker does not describe groups"),
        }
    }
    for group in groups {
        if let Some(described) = described.remove(&group.name) {
            fill(group, described)?;
        }
    }
    Ok(())
}

/// Asks one broker after the other, because some may be down.
fn coordinators(
    library: &LibraryClient<LibraryContext>,
    access: &WireAccess<'_>,
    names: &[StrBytes],
) -> Result<NamesByBroker, LibraryError> {
    let metadata = library.fetch_metadata(None, ANSWER_LIMIT)?;
    for broker in metadata.brokers() {
        let port = u16::try_from(broker.port()).unwrap_or_default();
        match Connection::open(broker.host(), port, access).and_then(|connection| find(connection, names)) {
            Ok(coordinators) => return by_broker(coordinators),
            Err(error) => tracing::debug!(broker = broker.id(), %error, "broker finds no coordinators"),
        }
    }
    Ok(NamesByBroker::new())
}

fn find(mut connection: Connection, names: &[StrBytes]) -> io::Result<Vec<Coordinator>> {
    // Older brokers close the connection on unknown requests.
    connection.newest_version::<ConsumerGroupDescribeRequest>()?;
    let request = FindCoordinatorRequest::default().with_coordinator_keys(names.to_vec());
    Ok(connection.ask(FIND_COORDINATOR, &request)?.coordinators)
}

fn by_broker(coordinators: Vec<Coordinator>) -> Result<NamesByBroker, LibraryError> {
    let mut brokers = NamesByBroker::new();
    for coordinator in coordinators {
        if is_usable(&coordinator.key, coordinator.error_code)? {
            let port = u16::try_from(coordinator.port).unwrap_or_default();
            brokers.entry((coordinator.host.to_string(), port)).or_default().push(coordinator.key);
        }
    }
    Ok(brokers)
}

fn ask(mut connection: Connection, names: &[StrBytes]) -> io::Result<Vec<DescribedGroup>> {
    let mut groups = Vec::new();
    for names in names.chunks(DESCRIBED_AT_ONCE) {
        let names = names.iter().cloned().map(Into::into).collect();
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(names);
        groups.extend(connection.ask(CONSUMER_GROUP_DESCRIBE, &request)?.groups);
    }
    Ok(groups)
}

fn fill(group: &mut Group, described: DescribedGroup) -> Result<(), LibraryError> {
    if is_usable(&group.name, described.error_code)? {
        group.state = described.group_state.to_string();
        group.members = described.members.into_iter().map(member).collect();
    }
    Ok(())
}

fn member(member: consumer_group_describe_response::Member) -> Member {
    let assigned = member.assignment.topic_partitions.into_iter();
    Member {
        id: member.member_id.to_string(),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: Some(assigned.map(|topic| (topic.topic_name.to_string(), topic.partitions)).collect()),
    }
}

/// Whether the answer for a group is no error.
///
/// # Errors
/// Fails while a coordinator is elected.
fn is_usable(group: &str, code: i16) -> Result<bool, LibraryError> {
    use RDKafkaErrorCode as Code;
    let election = match ResponseError::try_from_code(code) {
        Some(ResponseError::CoordinatorLoadInProgress) => Code::CoordinatorLoadInProgress,
        Some(ResponseError::CoordinatorNotAvailable) => Code::CoordinatorNotAvailable,
        Some(ResponseError::NotCoordinator) => Code::NotCoordinator,
        _ => {
            let usable = refused(code);
            if let Err(error) = &usable {
                tracing::debug!(group, %error, "group is not described");
            }
            return Ok(usable.is_ok());
        }
    };
    Err(LibraryError::GroupListFetch(election))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::consumer_group_describe_response::{
        Assignment, Member as DescribedMember, TopicPartitions,
    };

    use super::*;

    fn dead() -> Group {
        Group { name: "g".to_owned(), state: "Dead".to_owned(), members: Vec::new() }
    }

    #[test]
    fn fills_in_state_members_and_partitions() {
        let partitions = TopicPartitions::default()
            .with_topic_name(StrBytes::from_static_str("t").into())
            .with_partitions(vec![0, 7]);
        let member = DescribedMember::default()
            .with_client_id(StrBytes::from_static_str("the-app"))
            .with_assignment(Assignment::default().with_topic_partitions(vec![partitions]));
        let described = DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str("Reconciling"))
            .with_members(vec![member]);
        let mut group = dead();
        fill(&mut group, described).expect("no election");
        assert_eq!((group.state.as_str(), group.members.len()), ("Reconciling", 1));
        assert_eq!(group.members[0].client, "the-app");
        assert_eq!(group.members[0].assigned, Some(vec![("t".to_owned(), vec![0, 7])]));
    }

    #[test]
    fn keeps_what_brokers_refuse_to_describe_and_retries_elections() {
        for error in [ResponseError::GroupIdNotFound, ResponseError::TopicAuthorizationFailed] {
            let mut group = dead();
            fill(&mut group, DescribedGroup::default().with_error_code(error.code())).expect("no election");
            assert_eq!(group, dead());
        }
        let election = DescribedGroup::default().with_error_code(ResponseError::NotCoordinator.code());
        let error = fill(&mut dead(), election).expect_err("an election");
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::NotCoordinator));
        let found = |port, code| {
            let key = StrBytes::from_static_str("g");
            Coordinator::default().with_key(key).with_port(port).with_error_code(code)
        };
        let unready = found(-1, ResponseError::CoordinatorNotAvailable.code());
        by_broker(vec![unready]).expect_err("an election");
        let denied = found(-1, ResponseError::GroupAuthorizationFailed.code());
        let brokers = by_broker(vec![found(9092, 0), denied, found(9092, 0)]).expect("no election");
        let names: Vec<usize> = brokers.values().map(Vec::len).collect();
        assert_eq!(names, [2]);
    }
}
