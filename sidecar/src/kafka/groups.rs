//! Consumer groups and who is in them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError as LibraryError;
use rdkafka::groups::{GroupInfo, GroupMemberInfo};
use rdkafka::types::RDKafkaErrorCode;
use serde::Serialize;

use super::{ANSWER_LIMIT, Client, KafkaError};

/// Between two questions to a broker that is loading its groups.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Kafka's word for how it is: `Stable`, `Empty`, `PreparingRebalance`, `Dead`, …
    pub state: String,
    /// Who consumes in it now.
    pub members: Vec<Member>,
}

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The group's name for it.
    pub id: String,
    /// What it calls itself.
    pub client: String,
    /// Where it connects from.
    pub host: String,
    /// The partitions that it was given, by topic; `None` if they can't be read.
    pub assigned: Option<Vec<(String, Vec<i32>)>>,
}

impl Client {
    /// All groups, or the one of this name if there is one.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`], or [`KafkaError::Failed`].
    pub async fn groups(&self, name: Option<&str>) -> Result<Vec<Group>, KafkaError> {
        let name = name.map(str::to_owned);
        self.blocking("list consumer groups", move |admin| {
            let deadline = Instant::now() + ANSWER_LIMIT;
            let list = loop {
                match admin.inner().fetch_group_list(name.as_deref(), ANSWER_LIMIT) {
                    Err(error) if is_passing(&error) && Instant::now() < deadline => sleep(ASK_AGAIN),
                    answer => break answer?,
                }
            };
            let mut groups: Vec<Group> = list.groups().iter().map(group).collect();
            groups.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(groups)
        })
        .await
    }
}

/// Whether a broker is just about to know its groups: after its start, and after the first group was made.
fn is_passing(error: &LibraryError) -> bool {
    use RDKafkaErrorCode as Code;
    let passing = [Code::CoordinatorLoadInProgress, Code::CoordinatorNotAvailable, Code::NotCoordinator];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

fn group(info: &GroupInfo) -> Group {
    let members = info.members().iter().map(member);
    Group { name: info.name().to_owned(), state: info.state().to_owned(), members: members.collect() }
}

fn member(info: &GroupMemberInfo) -> Member {
    Member {
        id: info.id().to_owned(),
        client: info.client_id().to_owned(),
        host: info.client_host().to_owned(),
        assigned: info.assignment().and_then(assigned),
    }
}

/// The partitions of a member by Kafka's consumer protocol: a version, and for each topic its name and partitions.
fn assigned(bytes: &[u8]) -> Option<Vec<(String, Vec<i32>)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = bytes.get(2..)?;
    let topics = number(&mut rest)?;
    (0..topics)
        .map(|_| {
            let length = usize::from(u16::from_be_bytes(*rest.split_off(..2)?.first_chunk()?));
            let name = String::from_utf8(rest.split_off(..length)?.to_vec()).ok()?;
            let partitions = number(&mut rest)?;
            let partitions = (0..partitions).map(|_| number(&mut rest)).collect::<Option<_>>()?;
            Some((name, partitions))
        })
        .collect()
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_or_refused_whole() {
        let bytes = b"\0\0\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x07\0\x02bc\0\0\0\0";
        let read = assigned(bytes).expect("right");
        assert_eq!(read, [("a".to_owned(), vec![0, 7]), ("bc".to_owned(), vec![])]);
        assert_eq!(assigned(b""), Some(vec![]));
        for length in 1..bytes.len() {
            assert_eq!(assigned(&bytes[..length]), None, "{length}");
        }
        // A count that lies takes no memory.
        assert_eq!(assigned(b"\0\0\x7f\xff\xff\xff"), None);
    }
}
