//! Resumable initial snapshot of both tables by primary key ranges.
//!
//! Rows are read after the slot was created, at any time, and get a version below every version
//! that the slot yields. A row that was changed in between arrives later with that change, and a
//! deleted row with its deletion. The snapshot therefore needs no consistent view. Only
//! transactions that committed before the slot began and are not visible yet would be missed, so
//! the snapshot waits for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use minijinja::context;
use tokio::time::{interval, sleep, timeout};

use crate::kafka::{DeliveryHandle, Producer};
use crate::persons::source::PersonSource;
use crate::supervise::Heartbeat;

use super::checkpoint::{Checkpoint, CheckpointStore, Copied, KeyRange};
use super::postgres::lsn::Lsn;
use super::postgres::pgoutput::Cell;
use super::postgres::session::{PostgresError, SCAN_TIMEOUT, Session, quoted, text};
use super::postgres::slot::qualified;
use super::postgres::table::{Table, TableKind, person};
use super::publish::Publisher;
use super::publish::change::{RowChange, Versions};
use super::publish::lookup::columns;
use super::publish::version::of_copy;
use super::requirements::Guarantees;

/// Maximum number of rows per page, and the number before their size is known.
const PAGE_ROWS: (usize, usize) = (10_000, 100);
/// Target size of a page in bytes. A page is cut at four times this size.
const PAGE_BYTES: usize = 8 << 20;
/// Ranges per reader, so that no single reader is left with a dense range for long.
const RANGES_EACH: i64 = 8;
/// How often progress is written.
const REMEMBER: Duration = Duration::from_secs(2);
/// Heartbeat timeout. It is longer than brokers may be unavailable.
const COPY_BEAT_TIMEOUT: Duration = Duration::from_secs(300);
/// Interval between two checks whether old transactions have ended.
const TRANSACTION_POLL_INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Copy<'a> {
    pub(crate) producer: &'a Producer,
    pub(crate) source: PersonSource<'a>,
    /// Store of the checkpoint.
    pub(crate) store: &'a CheckpointStore<'a>,
    /// Receives a heartbeat with progress.
    pub(crate) heartbeat: &'a Heartbeat,
}

impl Copy<'_> {
    /// Reads the remaining ranges, persons first, and writes the progress. `on_progress` is called
    /// with the number of rows read so far.
    pub(super) async fn run(&self, on_progress: &(dyn Fn(TableKind, u64) + Sync)) -> anyhow::Result<()> {
        if self.store.now().await.is_copied() {
            return Ok(());
        }
        let session = Session::connect(self.source.postgres).await?;
        wait_for_old_transactions(&session, self.heartbeat).await?;
        for table in Table::both(self.source.postgres) {
            self.heartbeat.beat("reading a table for the snapshot", SCAN_TIMEOUT + COPY_BEAT_TIMEOUT);
            if progress(&mut self.store.now().await, table.kind).is_none() {
                let left = ranges(&session, &table, self.source.postgres.readers).await?;
                self.remember(table.kind, Copied { left, rows: 0 }).await?;
            }
            self.table(&table, on_progress).await?;
        }
        Ok(())
    }

    async fn table(
        &self,
        table: &Table,
        on_progress: &(dyn Fn(TableKind, u64) + Sync),
    ) -> anyhow::Result<()> {
        let mut state = self.store.now().await;
        let version = of_copy(Lsn::from_u64(state.begins), state.version_base(self.source.postgres))?;
        let copied = progress(&mut state, table.kind).take().unwrap_or_default();
        if copied.left.is_empty() {
            return Ok(());
        }
        let work =
            SnapshotWork { queue: Mutex::new((0..copied.left.len()).collect()), copied: Mutex::new(copied) };
        let readers = (0..self.source.postgres.readers).map(|_| self.read(table, version, &work));
        let mut readers: FuturesUnordered<_> = readers.collect();
        let mut ticks = interval(REMEMBER);
        loop {
            let ended = tokio::select! {
                ended = readers.next() => ended,
                _ = ticks.tick() => Some(Ok(())),
            };
            let now = lock(&work.copied).clone();
            let rows = now.rows;
            let is_done = ended.is_none();
            ended.transpose()?;
            let left = if is_done { Vec::new() } else { now.left };
            self.remember(table.kind, Copied { left, rows }).await?;
            self.heartbeat.beat("reading a table for the snapshot", COPY_BEAT_TIMEOUT);
            self.heartbeat.ready();
            // Reported after the checkpoint is written, so that reported rows are not read twice.
            on_progress(table.kind, rows);
            if is_done {
                return Ok(());
            }
        }
    }

    async fn remember(&self, kind: TableKind, copied: Copied) -> anyhow::Result<()> {
        self.store.change(|state| *progress(state, kind) = Some(copied)).await
    }

    /// Runs one reader, which takes range after range.
    async fn read(&self, table: &Table, version: u64, work: &SnapshotWork) -> anyhow::Result<()> {
        let versions = match self.source.postgres.version {
            crate::config::VersionRule::Wal => Versions::Copy(version),
            crate::config::VersionRule::Column => Versions::Column,
        };
        let mut publisher = Publisher::connect(self.producer, self.source, versions, Guarantees::ALL).await?;
        let mut limit = PAGE_ROWS.1;
        while let Some(index) = work.take() {
            let mut range = work.range(index);
            let mut under_way: Option<OnItsWay> = None;
            while range.from <= range.to {
                let page = page(publisher.lookup().session(), table, range, limit).await?;
                limit = page.next_limit(limit);
                range.from = page.next();
                let rows = page.rows.len() as u64;
                let receipt = Arc::new(DeliveryHandle::default());
                let mut changes: Vec<_> =
                    page.rows.into_iter().map(|row| RowChange::copied(table.kind, row)).collect();
                publisher.publish(&mut changes, &receipt).await?;
                // The next page is read while this one is in flight.
                if let Some(before) = under_way.take() {
                    before.delivered(work, index).await?;
                }
                under_way = Some(OnItsWay { receipt, rows, next: range.from });
                if range.from == i64::MAX {
                    break;
                }
            }
            if let Some(last) = under_way {
                last.delivered(work, index).await?;
            }
        }
        Ok(())
    }
}

/// Ranges for the readers, and their progress.
struct SnapshotWork {
    queue: Mutex<Vec<usize>>,
    copied: Mutex<Copied>,
}

impl SnapshotWork {
    fn take(&self) -> Option<usize> {
        lock(&self.queue).pop()
    }

    fn range(&self, index: usize) -> KeyRange {
        lock(&self.copied).left.get(index).copied().unwrap_or(KeyRange { from: 1, to: 0 })
    }
}

struct SnapshotPage {
    rows: Vec<Vec<Cell>>,
    bytes: usize,
    /// Whether the range has no more rows.
    is_last: bool,
}

impl SnapshotPage {
    /// The lowest key that can follow the page.
    fn next(&self) -> i64 {
        let last = self.rows.last().and_then(|row| text(row.get(person::ID)?).parse::<i64>().ok());
        match last.filter(|_| !self.is_last) {
            Some(last) => last.saturating_add(1),
            None => i64::MAX,
        }
    }

    /// The number of rows of this size that fill a page.
    fn next_limit(&self, limit: usize) -> usize {
        match self.bytes / self.rows.len().max(1) {
            0 => limit,
            each => (PAGE_BYTES / each).clamp(1, PAGE_ROWS.0),
        }
    }
}

/// A page in flight to the brokers.
struct OnItsWay {
    receipt: Arc<DeliveryHandle>,
    rows: u64,
    next: i64,
}

impl OnItsWay {
    async fn delivered(self, work: &SnapshotWork, index: usize) -> anyhow::Result<()> {
        self.receipt.delivered().await?;
        let mut copied = lock(&work.copied);
        copied.rows += self.rows;
        if let Some(range) = copied.left.get_mut(index) {
            range.from = self.next;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(state: &mut Checkpoint, kind: TableKind) -> &mut Option<Copied> {
    match kind {
        TableKind::Person => &mut state.persons,
        TableKind::DistinctId => &mut state.distinct_ids,
    }
}

/// The current WAL write position, and the first transaction that has not begun.
pub(super) async fn now(session: &Session) -> Result<(Lsn, String), PostgresError> {
    let [place, transaction] = session.row("report its WAL position", "postgres/now.sql", ()).await?;
    let place =
        Lsn::parse(&place).ok_or_else(|| session.odd("report its WAL position", "no WAL position"))?;
    Ok((place, transaction))
}

/// Waits until queries see everything that is in the WAL now.
pub(super) async fn wait_for_old_transactions(
    session: &Session,
    heartbeat: &Heartbeat,
) -> Result<(), PostgresError> {
    let (_, transaction) = now(session).await?;
    let mut on_progress = false;
    loop {
        heartbeat.beat("waiting for older transactions", COPY_BEAT_TIMEOUT);
        let values = context! { transaction => &transaction };
        let [ended] = session.row("report running transactions", "postgres/ended.sql", values).await?;
        if ended == "t" {
            return Ok(());
        }
        if !on_progress {
            tracing::info!(transaction, "waiting for older transactions");
            heartbeat.not_ready(format!("waiting for transactions that started before {transaction}"));
            on_progress = true;
        }
        sleep(TRANSACTION_POLL_INTERVAL).await;
    }
}

/// Splits the table's keys into ranges of equal width. Their density is not known.
async fn ranges(session: &Session, table: &Table, readers: u32) -> Result<Vec<KeyRange>, PostgresError> {
    let values = context! { id => quoted(table.column(person::ID)), table => qualified(&table.name) };
    let [first, last] = session
        .row_within(SCAN_TIMEOUT, "return a table's first and last key", "postgres/bounds.sql", values)
        .await?;
    // An empty table has no keys.
    let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else { return Ok(Vec::new()) };
    Ok(split(first, last, i64::from(readers) * RANGES_EACH))
}

fn split(first: i64, last: i64, count: i64) -> Vec<KeyRange> {
    let width = (i128::from(last) - i128::from(first)) / i128::from(count.max(1)) + 1;
    let mut ranges = Vec::new();
    let mut from = i128::from(first);
    while from <= i128::from(last) {
        let to = (from + width - 1).min(i128::from(last));
        // Both values are within the i64 range.
        ranges.extend(
            i64::try_from(from).ok().zip(i64::try_from(to).ok()).map(|(from, to)| KeyRange { from, to }),
        );
        from = to + 1;
    }
    ranges
}

async fn page(
    session: &Session,
    table: &Table,
    range: KeyRange,
    limit: usize,
) -> Result<SnapshotPage, PostgresError> {
    let values = context! {
        columns => columns(table),
        table => qualified(&table.name),
        id => quoted(table.column(person::ID)),
        from => range.from,
        to => range.to,
        limit,
    };
    const TASK: &str = "give rows by their keys";
    let read = async {
        let mut stream = session.stream(TASK, "postgres/copy.sql", values).await?;
        let mut page = SnapshotPage { rows: Vec::new(), bytes: 0, is_last: false };
        while let Some(row) = stream.next().await.transpose()? {
            page.bytes += row.iter().map(Cell::len).sum::<usize>();
            page.rows.push(row);
            if page.bytes > 4 * PAGE_BYTES {
                return Ok(page);
            }
        }
        page.is_last = page.rows.len() < limit;
        Ok(page)
    };
    timeout(SCAN_TIMEOUT, read).await.map_err(|_| session.silent(TASK, SCAN_TIMEOUT))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_every_key_once() {
        for (first, last, count) in
            [(1, 1, 16), (1, 100, 16), (-5, 5, 3), (i64::MIN, i64::MAX, 16), (3, 4, 1)]
        {
            let ranges = split(first, last, count);
            assert_eq!((ranges[0].from, ranges[ranges.len() - 1].to), (first, last));
            assert!(ranges.windows(2).all(|pair| pair[0].to + 1 == pair[1].from), "{ranges:?}");
            assert!(ranges.iter().all(|range| range.from <= range.to));
            assert!(ranges.len() as i64 <= count);
        }
    }
}
