//! Backoff between tries of a store.

use std::time::Duration;

use tokio::time::sleep;

use super::error::SourceError;

/// Before the second try; doubled for each further one, which makes a minute for a range.
const BACKOFF: Duration = Duration::from_millis(250);

/// Waits before the next try, longer with each one.
pub(super) async fn pause(error: &SourceError, tries: u32) {
    let pause = BACKOFF * 2_u32.saturating_pow(tries.saturating_sub(1));
    tracing::info!(error = %error, retry_in = ?pause, "request to the store failed, retrying");
    sleep(pause).await;
}
