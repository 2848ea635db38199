//! Start of a leader: from the checkpoint, or with a new snapshot.

use std::fmt;

use super::super::requirements::Catalog;
use super::Leader;
use super::take_slot::SlotOrigin;
use crate::config::VersionRule;
use crate::persons::checkpoint::{Checkpoint, CheckpointStore, Published};
use crate::persons::postgres::lsn::Lsn;
use crate::persons::postgres::replication::SystemIdentity;
use crate::persons::postgres::session::Session;
use crate::persons::postgres::slot;
use crate::persons::publish::version::{AHEAD, of_copy, of_dependents};
use crate::persons::snapshot;
use crate::persons::version_guard;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// At the checkpoint.
    GoesOn,
    /// There is no checkpoint.
    First,
    /// Changes since the checkpoint are missing, or the history differs.
    Gap(Gap),
}

/// Why the stream can't resume from the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    SlotMade,
    SlotMoved,
    OtherSystem,
    OtherTimeline,
    WalWentBack,
    OtherHistory,
}

impl Gap {
    /// Whether the WAL may be behind the published versions.
    fn may_go_back(self) -> bool {
        !matches!(self, Self::SlotMade | Self::SlotMoved)
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SlotMade => "the slot did not exist, so changes since the checkpoint are unknown",
            Self::SlotMoved => {
                "the slot is further on than the checkpoint: another program recreated or moved it"
            }
            Self::OtherSystem => "it is another PostgreSQL (another system identifier)",
            Self::OtherTimeline => {
                "it is on another timeline: a standby was promoted, or a backup was restored"
            }
            Self::WalWentBack => "its WAL ends before the checkpoint: it was restored from an older state",
            Self::OtherHistory => {
                "its WAL has another history than the checkpoint: a backup was restored, or a standby that \
                lagged was promoted"
            }
        })
    }
}

/// The observed source.
struct ObservedSource {
    history: SystemIdentity,
    origin: SlotOrigin,
    /// The slot's position.
    confirmed: Lsn,
    /// The end of the WAL.
    end: Lsn,
    /// See [`Catalog::fingerprint`].
    fingerprint: u64,
}

impl Leader<'_> {
    /// Resumes from the checkpoint if it belongs to this slot and history; otherwise starts over.
    /// Returns the slot's position.
    pub(super) async fn resume(
        &self,
        session: &Session,
        store: &CheckpointStore<'_>,
        history: &SystemIdentity,
        origin: SlotOrigin,
        catalog: &Catalog,
    ) -> anyhow::Result<Lsn> {
        let slot = slot::observe(session, self.source.postgres).await?;
        let confirmed = slot.map_or(Lsn::from_u64(0), |slot| slot.confirmed);
        let (end, _) = snapshot::now(session).await?;
        let fingerprint = catalog.fingerprint(self.source.postgres);
        let source = ObservedSource { history: history.clone(), origin, confirmed, end, fingerprint };
        let published = Published::new(self.source.persons, self.source.postgres);
        let load = store.read().await?.filter(|state| published.is_of(state));
        let (mut begins, beginning) = resume(load.as_ref(), &source, published);
        if beginning != Beginning::GoesOn && self.source.postgres.version == VersionRule::Wal {
            self.settle_base(session, &mut begins, beginning, load.as_ref()).await?;
        }
        match beginning {
            Beginning::GoesOn => {}
            Beginning::First => {
                tracing::info!(position = %confirmed, "taking the initial snapshot");
            }
            Beginning::Gap(gap) => tracing::error!(
                position = %confirmed,
                reason = %gap,
                hint = "a new initial snapshot and an audit for deleted rows follow",
                "PostgreSQL can't be followed from where posthouse left it"
            ),
        }
        store.change(|state| *state = begins).await?;
        Ok(confirmed)
    }

    /// Raises the version offset if rows published by posthouse would hide the snapshot.
    async fn settle_base(
        &self,
        session: &Session,
        begins: &mut Checkpoint,
        beginning: Beginning,
        load: Option<&Checkpoint>,
    ) -> anyhow::Result<()> {
        let base = begins.version_base(self.source.postgres);
        let hidden = match version_guard::check(self.cluster, session, base).await? {
            // The origin of these versions is unknown.
            Some(hidden) if load.is_none() => return Err(hidden.into()),
            hidden => hidden.map(|hidden| hidden.stored),
        };
        // Nodes may not have consumed all of it yet.
        let published = match (beginning, load) {
            (Beginning::Gap(gap), Some(state)) if gap.may_go_back() => {
                let ahead = Lsn::from_u64(state.acknowledged.saturating_add(AHEAD));
                of_dependents(ahead, state.version_base(self.source.postgres)).unwrap_or(0)
            }
            _ => 0,
        };
        let greatest = hidden.unwrap_or(0).max(published);
        let copies = of_copy(Lsn::from_u64(begins.begins), base)?;
        if greatest < copies {
            return Ok(());
        }
        begins.base = base + (greatest - copies) + 1;
        tracing::warn!(
            published = greatest,
            given = copies,
            version_base = begins.base,
            "published versions exceed those of the WAL: raising version_base"
        );
        Ok(())
    }
}

/// Returns the checkpoint to start with, given the last one and the observed source.
fn resume(
    load: Option<&Checkpoint>,
    source: &ObservedSource,
    published: Published,
) -> (Checkpoint, Beginning) {
    let ObservedSource { history, confirmed, .. } = source;
    let place = confirmed.as_u64();
    // Rows that the nodes already have may no longer exist in PostgreSQL, and no change reports
    // that.
    let fresh = Checkpoint {
        system: history.system.clone(),
        timeline: Some(history.timeline),
        begins: place,
        acknowledged: place,
        vanished: 1,
        fingerprint: Some(source.fingerprint),
        base: load.map_or(0, |state| state.base),
        published: Some(published.clone()),
        audit: load.and_then(|state| state.audit),
        ..Checkpoint::default()
    };
    let Some(state) = load else { return (fresh, Beginning::First) };
    match gap(state, source) {
        Some(gap) => (fresh, Beginning::Gap(gap)),
        None => {
            let mut state = Checkpoint { published: Some(published), ..state.clone() };
            // Changes published in the last seconds before a failover may not exist in the new
            // timeline, and changes made outside the stream are unknown.
            let was =
                (state.timeline.replace(history.timeline), state.fingerprint.replace(source.fingerprint));
            let is_same = was.0.is_none_or(|timeline| timeline == history.timeline)
                && was.1.is_none_or(|fingerprint| fingerprint == source.fingerprint);
            state.vanished += u64::from(!is_same || state.faulty);
            state.faulty = false;
            (state, Beginning::GoesOn)
        }
    }
}

/// Why the stream would lack changes since the checkpoint. A slot before the checkpoint is no
/// reason, because PostgreSQL does not persist every acknowledgement before a crash. The stream
/// itself checks whether the history in between is the same (see `Stream`).
fn gap(state: &Checkpoint, source: &ObservedSource) -> Option<Gap> {
    let (place, end) = (source.confirmed.as_u64(), source.end.as_u64());
    let same_timeline = state.timeline.is_none_or(|timeline| timeline == source.history.timeline);
    let cases = [
        (state.system != source.history.system, Gap::OtherSystem),
        (state.diverged, Gap::OtherHistory),
        // Without a transaction to look for, there is no proof that a new timeline has the
        // published changes.
        (
            !same_timeline && (state.last_commit.is_none() || source.origin == SlotOrigin::Made),
            Gap::OtherTimeline,
        ),
        (end < state.acknowledged, Gap::WalWentBack),
        (source.origin == SlotOrigin::Made, Gap::SlotMade),
        (place > state.acknowledged, Gap::SlotMoved),
    ];
    cases.into_iter().find_map(|(holds, gap)| holds.then_some(gap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persons::checkpoint::Commit;

    fn published(version: &str) -> Published {
        Published { version: version.to_owned(), topics: ["p".to_owned(), "d".to_owned()] }
    }

    /// A checkpoint at 80 of a slot that began at 8.
    fn state() -> Checkpoint {
        Checkpoint {
            system: "7".to_owned(),
            begins: 8,
            acknowledged: 80,
            last_commit: Some(Commit { end: 80, transaction: 3 }),
            timeline: Some(1),
            fingerprint: Some(9),
            published: Some(published("wal")),
            ..Checkpoint::default()
        }
    }

    fn source(place: u64) -> ObservedSource {
        let history = SystemIdentity { system: "7".to_owned(), timeline: 1 };
        let (confirmed, end) = (Lsn::from_u64(place), Lsn::from_u64(100));
        ObservedSource { history, origin: SlotOrigin::Kept, confirmed, end, fingerprint: 9 }
    }

    #[test]
    fn goes_on_only_with_the_same_slot_and_a_history_that_can_be_the_same() {
        let begins = |change: fn(&mut Checkpoint, &mut ObservedSource), place| {
            let (mut state, mut source) = (state(), source(place));
            change(&mut state, &mut source);
            resume(Some(&state), &source, published("wal"))
        };
        assert_eq!(begins(|_, _| (), 80), (state(), Beginning::GoesOn));
        assert_eq!(begins(|_, _| (), 72), (state(), Beginning::GoesOn));
        let promoted = Checkpoint { timeline: Some(2), vanished: 1, ..state() };
        assert_eq!(begins(|_, source| source.history.timeline = 2, 72), (promoted, Beginning::GoesOn));
        type Case = (fn(&mut Checkpoint, &mut ObservedSource), u64, Gap);
        let cases: [Case; 7] = [
            (
                |_, source| {
                    source.origin = SlotOrigin::Made;
                    source.history.timeline = 2;
                },
                80,
                Gap::OtherTimeline,
            ),
            (|_, _| (), 88, Gap::SlotMoved),
            (|_, source| source.origin = SlotOrigin::Made, 80, Gap::SlotMade),
            (|_, source| source.history.system = "8".to_owned(), 80, Gap::OtherSystem),
            (|_, source| source.end = Lsn::from_u64(79), 72, Gap::WalWentBack),
            (|state, _| state.diverged = true, 72, Gap::OtherHistory),
            (
                |state, source| {
                    state.last_commit = None;
                    source.history.timeline = 2;
                },
                72,
                Gap::OtherTimeline,
            ),
        ];
        for (change, place, gap) in cases {
            let (fresh, beginning) = begins(change, place);
            assert_eq!((beginning, fresh.begins, fresh.acknowledged), (Beginning::Gap(gap), place, place));
            assert_eq!((fresh.persons, fresh.distinct_ids, fresh.vanished), (None, None, 1));
        }
        assert_eq!(resume(None, &source(8), published("wal")).1, Beginning::First);
        // Changes made outside the stream are repaired.
        let repaired = Checkpoint { vanished: 1, ..state() };
        assert_eq!(begins(|state, _| state.faulty = true, 80), (repaired.clone(), Beginning::GoesOn));
        assert_eq!(begins(|state, _| state.fingerprint = Some(8), 80), (repaired, Beginning::GoesOn));
    }

    #[test]
    fn other_versions_or_topics_begin_again_and_a_checkpoint_of_an_older_release_goes_on() {
        let other = Published { topics: ["p".to_owned(), "e".to_owned()], ..published("wal") };
        assert!(!published("column").is_of(&state()) && !other.is_of(&state()));
        let older = Checkpoint { published: None, timeline: None, last_commit: None, ..state() };
        let (state, beginning) = resume(Some(&older), &source(80), published("wal"));
        assert_eq!((state.published, beginning), (Some(published("wal")), Beginning::GoesOn));
        // Its versions may have been WAL versions, which hide column versions.
        assert!(published("wal").is_accepted(Some(&older)) && !published("column").is_accepted(Some(&older)));
        assert!(!published("wal").is_accepted(None));
    }
}
