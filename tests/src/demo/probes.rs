//! Latency from produced to queryable, measured with probes of a separate team.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::queries;
use crate::events::Kind;
use crate::load::Producer;
use crate::stack::Node;

/// Interval of probes and of queries for them: the resolution of the figures.
const EVERY: Duration = Duration::from_millis(100);
/// A separate team makes probes cheap to find. `queries::PROBES` uses it too.
const TEAM: u32 = 999_999;

/// A probe that became visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// Time when it was handed to the producer.
    pub(super) sent: Instant,
    /// Time until a query returned it.
    pub(super) waited: Duration,
}

/// Sends probes while `sending`, and queries for them until all are visible or `watching` ends.
///
/// # Errors
/// Fails if the producer refuses a probe.
pub(super) fn run(
    node: &Node,
    producer: &Producer,
    sending: &AtomicBool,
    watching: &AtomicBool,
) -> anyhow::Result<Vec<Probe>> {
    let (mut waiting, mut seen, mut number) = (HashMap::new(), Vec::new(), 0_u64);
    while sending.load(Ordering::Relaxed) || (watching.load(Ordering::Relaxed) && !waiting.is_empty()) {
        let tick = Instant::now();
        if sending.load(Ordering::Relaxed) {
            number += 1;
            let (key, payload) = message(number);
            waiting.insert(number, Instant::now());
            producer.send(&key, payload.as_bytes(), Kind::New)?;
        }
        // While a shard is down the query fails, and probes wait. The measured latency includes
        // this time.
        if let Ok(answer) = node.query(queries::PROBES) {
            let arrived = answer.lines().filter_map(|line| waiting.remove(&line.parse().ok()?));
            seen.extend(arrived.map(|sent: Instant| Probe { sent, waited: sent.elapsed() }));
        }
        thread::sleep(EVERY.saturating_sub(tick.elapsed()));
    }
    Ok(seen)
}

/// Returns the key and value of a probe.
fn message(number: u64) -> (String, String) {
    let key = Uuid::from_u128(number.into()).to_string();
    let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S.%6f");
    let payload = format!(
        r#"{{"uuid":"{key}","event":"probe","properties":"{{}}","timestamp":"{now}","team_id":{TEAM},"distinct_id":"probe-{number}"}}"#
    );
    (key, payload)
}

/// Returns the given quantile of the probes' waits; `None` without probes.
pub(super) fn quantile(probes: &[Probe], share: f64) -> Option<Duration> {
    let mut waits: Vec<_> = probes.iter().map(|probe| probe.waited).collect();
    waits.sort();
    let rank = (waits.len() as f64 * share).ceil() as usize;
    waits.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_waits_that_were_seen() {
        let sent = Instant::now();
        let probe = |ms| Probe { sent, waited: Duration::from_millis(ms) };
        let probes: Vec<_> = (1..=100).rev().map(probe).collect();
        let ms = |share| quantile(&probes, share).map(|wait| wait.as_millis());
        assert_eq!([ms(0.0), ms(0.5), ms(0.95), ms(1.0)], [Some(1), Some(50), Some(95), Some(100)]);
        assert_eq!(quantile(&[], 0.5), None);
    }
}
