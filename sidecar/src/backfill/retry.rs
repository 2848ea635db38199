//! Classification of transient node errors, and the backoff between retries.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::node::NodeError;

/// Wait before the second attempt. Doubles with each further attempt.
const MIN_WAIT: Duration = Duration::from_millis(200);
/// Maximum wait between two attempts. A node that restarts is back within seconds.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Time limit for retries of one statement. Longer than a node's restart, a rolling upgrade or a
/// failover of Keeper.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// ClickHouse's codes of transient errors: the same insert may succeed later or on another replica.
const PASSING: [u32; 29] = [
    3,   // UNEXPECTED_END_OF_FILE: the connection broke while the block was read
    32,  // ATTEMPT_TO_READ_AFTER_EOF: same cause
    95,  // CANNOT_READ_FROM_SOCKET
    159, // TIMEOUT_EXCEEDED
    198, // DNS_ERROR
    201, // QUOTA_EXCEEDED: until its interval ends
    202, // TOO_MANY_SIMULTANEOUS_QUERIES
    203, // NO_FREE_CONNECTION
    209, // SOCKET_TIMEOUT
    210, // NETWORK_ERROR
    225, // NO_ZOOKEEPER
    236, // ABORTED: the server is shutting down
    241, // MEMORY_LIMIT_EXCEEDED
    242, // TABLE_IS_READ_ONLY: a replica without Keeper
    243, // NOT_ENOUGH_SPACE
    252, // TOO_MANY_PARTS
    254, // NO_ACTIVE_REPLICAS
    279, // ALL_CONNECTION_TRIES_FAILED
    285, // TOO_FEW_LIVE_REPLICAS
    286, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
    319, // UNKNOWN_STATUS_OF_INSERT
    394, // QUERY_WAS_CANCELLED
    439, // CANNOT_SCHEDULE_TASK
    499, // S3_ERROR, of a disk
    500, // AZURE_BLOB_STORAGE_ERROR, of a disk
    574, // DISTRIBUTED_TOO_MANY_PENDING_BYTES
    733, // TABLE_IS_BEING_RESTARTED
    745, // SERVER_OVERLOADED
    999, // KEEPER_EXCEPTION
];

/// Whether the same statement may succeed later.
pub(crate) fn is_passing(error: &NodeError) -> bool {
    match error {
        NodeError::Unreachable { .. } => true,
        // A response without a code comes from an intermediary. For example, a load balancer
        // without available servers responds with 502 to 504.
        NodeError::Refused { message, .. } => match error.code() {
            Some(code) => PASSING.contains(&code),
            None => ["502", "503", "504"].iter().any(|status| message.starts_with(status)),
        },
        NodeError::Answer { .. } => false,
    }
}

/// Waits between attempts at a statement.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(MIN_WAIT, MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u32) -> NodeError {
        NodeError::Refused { name: "n".to_owned(), url: "u".to_owned(), code, message: String::new() }
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        assert!(is_passing(&refused(252)) && is_passing(&refused(241)));
        // UNKNOWN_TABLE, ACCESS_DENIED, and a response without a code.
        assert!(!is_passing(&refused(60)) && !is_passing(&refused(497)) && !is_passing(&refused(0)));
    }
}
