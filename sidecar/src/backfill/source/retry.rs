//! Waits between tries of a store.

use std::time::Duration;

use tokio::time::sleep;

use super::error::SourceError;
use crate::backoff::Backoff;

/// Before the second try.
const MIN_WAIT: Duration = Duration::from_millis(250);
/// The longest wait. The tries for a range take a minute or two together.
const MAX_WAIT: Duration = Duration::from_secs(32);

/// Waits between tries of one request.
pub(super) fn backoff() -> Backoff {
    Backoff::new(MIN_WAIT, MAX_WAIT)
}

/// Logs the failed try, and waits before the next one.
pub(super) async fn pause(error: &SourceError, backoff: &mut Backoff) {
    let pause = backoff.wait();
    tracing::info!(error = %error, retry_in = ?pause, "request to the store failed, retrying");
    sleep(pause).await;
}
