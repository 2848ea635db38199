//! Growing waits between retries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits that double from a first one up to a longest one. Each is longer by a random part of
/// itself, so that machines that fail together do not retry together.
#[derive(Debug)]
pub(crate) struct Backoff {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
    /// No wait is longer.
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let builder = ExponentialBuilder::default().with_min_delay(min).with_max_delay(max / 2);
        let builder = builder.with_factor(2.0).with_jitter().without_max_times();
        Self { builder, waits: builder.build(), max }
    }

    /// Returns the wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        self.waits.next().unwrap_or(self.max)
    }

    /// Starts over, after an attempt that made progress.
    pub(crate) fn reset(&mut self) {
        self.waits = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let (min, max) = (Duration::from_millis(200), Duration::from_secs(10));
        let mut backoff = Backoff::new(min, max);
        for _ in 0..2 {
            for doubled in [1, 2, 4, 8, 16].map(|factor| min * factor) {
                let wait = backoff.wait();
                assert!((doubled..=doubled * 2).contains(&wait), "{wait:?}, not {doubled:?}");
            }
            for _ in 0..100 {
                let wait = backoff.wait();
                assert!((max / 2..=max).contains(&wait), "{wait:?}");
            }
            backoff.reset();
        }
    }
}
