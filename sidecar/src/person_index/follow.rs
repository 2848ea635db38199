//! Changes from the topic, as they arrive, into the index of a node.

use std::io;
use std::time::Duration;

use posthouse_udf::snapshot::{Entry, Identity};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::clock::now_ms;
use super::indexed_node::{IndexedNode, RETRY};
use super::live::{FileMerge, LiveIndex, ReadUpTo};
use super::merges;
use super::rows::VersionRows;
use crate::backoff::Backoff;
use crate::kafka::MessageReader;
use crate::span;

/// Wait for a message.
const IDLE: Duration = Duration::from_secs(1);
/// Wait for further messages after the first one. It is a part of the time until a change is known.
const GATHER: Duration = Duration::from_millis(100);
/// Interval of looks at the ends of the partitions.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of publications without changes, which say up to when there are none. The first one
/// comes soon after a change.
const QUIET_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of looks at the table, the topic and a part of the files.
const SOURCE_INTERVAL: Duration = Duration::from_secs(15);
/// Wait after a merge that failed, for example because the disk is full.
const MERGE_RETRY: Duration = Duration::from_secs(600);
/// Limit of a step. A publication takes milliseconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// An index that follows its topic.
pub(super) struct Following<'a> {
    kept: &'a IndexedNode<'a>,
    reader: MessageReader,
    /// Ends of the partitions, and when they were asked for, until they are reached.
    ends: Option<(u64, Vec<i64>)>,
    merge: Option<RunningMerge>,
    /// The fault of the last merge, until such a one succeeds.
    merge_fault: Option<String>,
    backoff: Backoff,
    due: Due,
}

/// When something is done next.
struct Due {
    look: Instant,
    quiet: Instant,
    source: Instant,
    merge: Instant,
    base_merge: Instant,
}

struct RunningMerge {
    merge: FileMerge,
    task: JoinHandle<io::Result<()>>,
}

impl<'a> Following<'a> {
    pub(super) fn new(kept: &'a IndexedNode<'a>, reader: MessageReader) -> Self {
        let now = Instant::now();
        let due = Due { look: now, quiet: now, source: now + SOURCE_INTERVAL, merge: now, base_merge: now };
        let backoff = Backoff::new(RETRY[0], RETRY[1]);
        Self { kept, reader, ends: None, merge: None, merge_fault: None, backoff, due }
    }

    /// Follows the topic until the index has to be built, or can't be written.
    pub(super) async fn run(mut self, mut live: LiveIndex) -> anyhow::Result<()> {
        loop {
            live = self.step(live).await?;
        }
    }

    async fn step(&mut self, mut live: LiveIndex) -> anyhow::Result<LiveIndex> {
        self.kept.heartbeat.beat("following the topic of distinct ids", STEP_TIMEOUT);
        self.look_at_ends().await;
        let arrived = self.reader.arrived(IDLE, GATHER).await?;
        let versions = self.versions(live.index().manifest().identity, &arrived.payloads).await;
        let fresh_ms = self.fresh_ms();
        if !arrived.payloads.is_empty() || (fresh_ms.is_some() && Instant::now() >= self.due.quiet) {
            let next = self.reader.next_offsets().iter();
            let offsets = next.map(|offset| u64::try_from(*offset).unwrap_or_default()).collect();
            let up_to = ReadUpTo { offsets, fresh_ms: fresh_ms.unwrap_or_default() };
            live = self.publish(live, versions, up_to).await?;
        }
        live = self.merge(live).await?;
        if Instant::now() >= self.due.source {
            self.look_at_source(live.index().manifest().identity.source).await?;
            let check = move || live.check_part().map(|()| live);
            live = spawn_blocking(span::in_current(check)).await??;
        }
        Ok(live)
    }

    /// Asks for the ends of the partitions, if those of the last question are reached.
    async fn look_at_ends(&mut self) {
        if self.ends.is_some() || Instant::now() < self.due.look {
            return;
        }
        self.due.look = Instant::now() + LOOK_INTERVAL;
        let asked_ms = now_ms();
        match self.reader.ends().await {
            Ok(ends) => {
                self.ends = Some((asked_ms, ends));
                self.succeeded();
            }
            Err(error) => self.failed(error.into()).await,
        }
    }

    /// Up to when all changes are read, if that is known now.
    fn fresh_ms(&mut self) -> Option<u64> {
        let (asked_ms, ends) = self.ends.as_ref()?;
        let asked_ms = *asked_ms;
        let is_reached = self.reader.next_offsets().iter().zip(ends).all(|(next, end)| next >= end);
        is_reached.then(|| {
            self.ends = None;
            asked_ms
        })
    }

    /// Returns the versions that the node would store of these messages. It is asked until it
    /// answers.
    async fn versions(&mut self, identity: Identity, payloads: &[Vec<u8>]) -> Vec<Entry> {
        if payloads.is_empty() {
            return Vec::new();
        }
        loop {
            match self.asked_versions(identity, payloads).await {
                Ok(versions) => {
                    self.succeeded();
                    return versions;
                }
                Err(error) => self.failed(error).await,
            }
        }
    }

    async fn asked_versions(&self, identity: Identity, payloads: &[Vec<u8>]) -> anyhow::Result<Vec<Entry>> {
        let mut rows = VersionRows::of_messages(self.kept.cluster, self.kept.node, payloads)?;
        let mut versions = Vec::with_capacity(payloads.len());
        while let Some(row) = rows.next().await? {
            versions.push(Entry { id: identity.hashed(row.team_id, &row.distinct_id), version: row.version });
        }
        Ok(versions)
    }

    async fn publish(
        &mut self,
        mut live: LiveIndex,
        versions: Vec<Entry>,
        up_to: ReadUpTo,
    ) -> anyhow::Result<LiveIndex> {
        let publish = move || live.publish(versions, up_to).map(|changes| (live, changes));
        let (live, changes) = spawn_blocking(span::in_current(publish)).await??;
        self.due.quiet = Instant::now() + if changes > 0 { LOOK_INTERVAL } else { QUIET_INTERVAL };
        self.kept.metrics.published(&self.kept.node.name, live.index(), changes);
        Ok(live)
    }

    /// Begins a merge that is due, or publishes one that has ended.
    async fn merge(&mut self, mut live: LiveIndex) -> anyhow::Result<LiveIndex> {
        match self.merge.take() {
            None if Instant::now() >= self.due.merge => {
                let may_rewrite = Instant::now() >= self.due.base_merge;
                let rule = if may_rewrite { merges::due } else { merges::due_without_base };
                let Some(merge) = live.due_merge(rule) else { return Ok(live) };
                let task = spawn_blocking(span::in_current(live.merger(&merge)));
                self.merge = Some(RunningMerge { merge, task });
                Ok(live)
            }
            Some(RunningMerge { merge, task }) if task.is_finished() => match task.await? {
                Ok(()) => {
                    // A merge of changes says nothing of the room for a base.
                    if merge.has_base() || Instant::now() >= self.due.base_merge {
                        self.merge_fault = None;
                    }
                    let adopt = move || live.adopt(merge).map(|()| live);
                    spawn_blocking(span::in_current(adopt)).await?
                }
                Err(error) => {
                    let due = if merge.has_base() { &mut self.due.base_merge } else { &mut self.due.merge };
                    *due = Instant::now() + MERGE_RETRY;
                    self.merge_fault = Some(self.kept.report_merge(&error, MERGE_RETRY));
                    live.abandon();
                    Ok(live)
                }
            },
            running => {
                self.merge = running;
                Ok(live)
            }
        }
    }

    /// Fails if the index belongs to another table or topic. Reads partitions that were added.
    async fn look_at_source(&mut self, source: u64) -> anyhow::Result<()> {
        self.due.source = Instant::now() + SOURCE_INTERVAL;
        let known = self.reader.next_offsets().len();
        let partitions = match self.kept.check_source(source, known).await {
            Err(error) if !IndexedNode::needs_build(&error) => {
                self.failed(error).await;
                return Ok(());
            }
            partitions => partitions?,
        };
        let mut next = self.reader.next_offsets().to_vec();
        if partitions > next.len() {
            next.resize(partitions, 0);
            self.reader = self.kept.reader(next).await?;
            self.ends = None;
        }
        Ok(())
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.kept.heartbeat.impaired(self.merge_fault.clone());
    }

    /// Reports a fault that a later attempt may not have, and waits.
    async fn failed(&mut self, error: anyhow::Error) {
        let wait = self.backoff.wait();
        self.kept.report(&error, wait);
        sleep(wait).await;
    }
}
