//! List of consumer groups.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ConsumerProtocolAssignment;
use kafka_protocol::protocol::Message;
use rdkafka::groups::{GroupInfo, GroupMemberInfo};

use super::group::{Group, Member};
use super::newer_groups::describe;
use super::wire::decode_message;
use super::{ANSWER_LIMIT, Client, KafkaError};

impl Client {
    /// Returns all groups, or only the one with this name, if it exists.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] or [`KafkaError::Failed`].
    pub(crate) async fn groups(&self, name: Option<&str>) -> Result<Vec<Group>, KafkaError> {
        let name = name.map(str::to_owned);
        self.blocking("list consumer groups", move |library, access| {
            let list = library.fetch_group_list(name.as_deref(), ANSWER_LIMIT)?;
            let mut groups: Vec<Group> = list.groups().iter().map(group).collect();
            describe(library, access, &mut groups)?;
            groups.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(groups)
        })
        .await
    }
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

/// Decodes an assignment of Kafka's consumer protocol. A newer version only has more fields at its
/// end.
fn assigned(bytes: &[u8]) -> Option<Vec<(String, Vec<i32>)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut bytes = Bytes::copy_from_slice(bytes);
    let version = bytes.try_get_i16().ok()?.min(ConsumerProtocolAssignment::VERSIONS.max);
    let assignment: ConsumerProtocolAssignment = decode_message(bytes, version).ok()?;
    let topics = assignment.assigned_partitions.into_iter();
    Some(topics.map(|topic| (topic.topic.to_string(), topic.partitions)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_or_refused_whole() {
        let bytes = b"\0\0\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x07\0\x02bc\0\0\0\0\xff\xff\xff\xff";
        let read = assigned(bytes).expect("right");
        assert_eq!(read, [("a".to_owned(), vec![0, 7]), ("bc".to_owned(), vec![])]);
        assert_eq!(assigned(b""), Some(vec![]));
        for length in 1..bytes.len() {
            assert_eq!(assigned(&bytes[..length]), None, "{length}");
        }
        // Newer versions may have more fields at the end.
        let newer = [b"\0\x09", &bytes[2..], b"more"].concat();
        assert_eq!(assigned(&newer), Some(read));
        // A count beyond the end allocates no memory.
        assert_eq!(assigned(b"\0\0\x7f\xff\xff\xff"), None);
        assert_eq!(assigned(b"\xff\xff\0\0\0\0\xff\xff\xff\xff"), None);
    }
}
