//! Replication connection: the slot's stream of changes, and the positions reported back.
//!
//! A task reads ahead within a budget of bytes and reports the position every second, also while
//! its consumer is busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use postgres_protocol::message::frontend;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tracing::Instrument;

use super::connection::query::{QueryError, QueryWire};
use super::connection::server_error::ServerError;
use super::connection::wire::{
    Frame, FrameFields, MAX_MESSAGE_BYTES, ReplyRequest, Wire, WireError, put_status,
};
use super::connection::{ConnectError, Purpose, end_soon, open};
use super::lsn::Lsn;
use super::session::{quoted, text};
use crate::config::Postgres;

/// Bytes that are read ahead of the consumer, and held by it. A larger message is read when no
/// other is held.
const BUDGET_BYTES: usize = 32 << 20;
/// Messages that are read ahead. Small ones take more memory than their bytes.
const MAX_AHEAD: usize = 1024;
/// Interval of status messages. PostgreSQL ends a stream without them after 60 s by default
/// (`wal_sender_timeout`).
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Time without a message after which the server is asked for one, by a status message that
/// requests a reply.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// Time limit for the server to take a status message.
const STATUS_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a message from its first byte to its last.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum size of a message before the stream begins.
const MAX_ANSWER: usize = 64 << 10;
/// PostgreSQL's epoch, 2000-01-01, in microseconds after that of Unix.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Why the stream did not begin, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicationError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("the server ended it")]
    Ended,
    #[error("the server stopped in the middle of a message for {} s", MESSAGE_TIMEOUT.as_secs())]
    Stalled,
    #[error("the server took no status message within {} s", STATUS_TIMEOUT.as_secs())]
    Deaf,
    #[error("the server did not identify itself: please report this")]
    NoIdentity,
}

impl ReplicationError {
    /// The server's own error, if it reports one.
    pub(crate) fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Wire(error) | Self::Query(QueryError::Wire(error)) => error.server(),
            _ => None,
        }
    }
}

/// An event of the stream.
#[derive(Debug)]
pub(crate) enum ReplicationEvent {
    /// Between transactions, everything before this position has been sent.
    KeepAlive { end: Lsn },
    /// A message of pgoutput.
    Data(Bytes),
}

/// Identity of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemIdentity {
    pub(crate) system: String,
    pub(crate) timeline: u32,
}

/// A replication session before its stream.
pub(crate) struct ReplicationSession {
    wire: QueryWire,
}

impl ReplicationSession {
    pub(crate) async fn connect(config: &Postgres) -> Result<Self, ReplicationError> {
        let session = open(config, Purpose::Replication).await?;
        Ok(Self { wire: QueryWire::new(session.wire) })
    }

    pub(crate) async fn identify(&mut self) -> Result<SystemIdentity, ReplicationError> {
        self.wire.ask("IDENTIFY_SYSTEM").await?;
        let mut found = None;
        while let Some(row) = self.wire.row(MAX_ANSWER).await? {
            let row: Vec<String> = row.iter().map(text).collect();
            let [system, timeline, ..] = &row[..] else { continue };
            found = timeline.parse().ok().map(|timeline| SystemIdentity { system: system.clone(), timeline });
        }
        found.ok_or(ReplicationError::NoIdentity)
    }

    /// Begins the stream of a slot from the position that it has confirmed.
    pub(crate) async fn start(self, config: &Postgres) -> Result<ReplicationStream, ReplicationError> {
        let mut wire = self.wire.into_wire();
        let publication = quoted(&config.publication).replace('\'', "''");
        let statement = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names '{publication}')",
            quoted(&config.slot)
        );
        frontend::query(&statement, wire.output()).map_err(WireError::from)?;
        wire.flush().await?;
        loop {
            match wire.read(MAX_ANSWER).await?.tag {
                // CopyBothResponse
                b'W' => return Ok(ReplicationStream::spawn(wire)),
                b'N' | b'S' => {}
                other => return Err(WireError::Unexpected(char::from(other)).into()),
            }
        }
    }
}

/// The stream of a slot. The session ends when it is dropped, so that the slot is free.
pub(crate) struct ReplicationStream {
    events: mpsc::Receiver<Result<ReplicationEvent, ReplicationError>>,
    budget: Arc<Semaphore>,
    /// Bytes of events that were received and not released.
    held: usize,
    applied: Arc<AtomicU64>,
    silence: Arc<Silence>,
}

/// Begin of the wait for the server's next message.
#[derive(Debug)]
struct Silence {
    begin: Instant,
    /// In milliseconds after `begin`; [`Silence::NONE`] without a wait.
    since: AtomicU64,
}

impl Silence {
    const NONE: u64 = u64::MAX;

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(Self::NONE)
    }

    fn start(&self) {
        self.since.store(self.now(), Ordering::Release);
    }

    fn end(&self) {
        self.since.store(Self::NONE, Ordering::Release);
    }

    fn elapsed(&self) -> Duration {
        match self.since.load(Ordering::Acquire) {
            Self::NONE => Duration::ZERO,
            since => Duration::from_millis(self.now().saturating_sub(since)),
        }
    }
}

impl Default for Silence {
    fn default() -> Self {
        Self { begin: Instant::now(), since: AtomicU64::new(Self::NONE) }
    }
}

impl ReplicationStream {
    fn spawn(wire: Wire) -> Self {
        let (sender, events) = mpsc::channel(MAX_AHEAD);
        let (budget, applied) = (Arc::new(Semaphore::new(BUDGET_BYTES)), Arc::default());
        let silence = Arc::<Silence>::default();
        let mut ticks = interval(STATUS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reader = StreamReader {
            wire,
            budget: Arc::clone(&budget),
            applied: Arc::clone(&applied),
            silence: Arc::clone(&silence),
            ticks,
        };
        tokio::spawn(reader.run(sender).in_current_span());
        Self { events, budget, held: 0, applied, silence }
    }

    /// Returns for how long the server has sent no message, although it is asked for one.
    pub(crate) fn silence(&self) -> Duration {
        self.silence.elapsed()
    }

    /// Waits for the next event. The wait can be cancelled.
    pub(crate) async fn receive(&mut self) -> Result<ReplicationEvent, ReplicationError> {
        let event = self.events.recv().await.ok_or(ReplicationError::Ended)??;
        if let ReplicationEvent::Data(data) = &event {
            self.held += cost(data.len());
        }
        Ok(event)
    }

    /// Reports that the events received so far take no memory any more.
    pub(crate) fn release(&mut self) {
        self.budget.add_permits(std::mem::take(&mut self.held));
    }

    /// Sets the position before which PostgreSQL may remove its WAL.
    pub(crate) fn acknowledge(&self, place: Lsn) {
        self.applied.fetch_max(place.as_u64(), Ordering::AcqRel);
    }
}

/// The share of the budget that a message takes.
fn cost(bytes: usize) -> usize {
    bytes.min(BUDGET_BYTES)
}

/// The task of a stream.
struct StreamReader {
    wire: Wire,
    budget: Arc<Semaphore>,
    applied: Arc<AtomicU64>,
    silence: Arc<Silence>,
    ticks: Interval,
}

impl StreamReader {
    async fn run(mut self, events: mpsc::Sender<Result<ReplicationEvent, ReplicationError>>) {
        let ended = tokio::select! {
            Err(error) = self.pump(&events) => Some(error),
            () = events.closed() => None,
        };
        // The server gives the slot to the next session as soon as this one has ended.
        end_soon(self.wire);
        if let Some(error) = ended {
            // The consumer may be gone.
            let _ = events.send(Err(error)).await;
        }
    }

    /// Passes events on until the stream fails.
    async fn pump(
        &mut self,
        events: &mpsc::Sender<Result<ReplicationEvent, ReplicationError>>,
    ) -> Result<std::convert::Infallible, ReplicationError> {
        loop {
            let frame = self.frame().await?;
            let read = frame.body.len();
            let event = self.event(frame).await?;
            let kept = match &event {
                Some(ReplicationEvent::Data(data)) => cost(data.len()),
                _ => 0,
            };
            // The rest is overhead of the protocol.
            self.budget.add_permits(cost(read) - kept);
            let Some(event) = event else { continue };
            loop {
                tokio::select! {
                    permit = events.reserve() => {
                        if let Ok(permit) = permit {
                            permit.send(Ok(event));
                        }
                        break;
                    }
                    _ = self.ticks.tick() => self.report().await?,
                }
            }
        }
    }

    /// Reads the next message once the budget has room for it.
    async fn frame(&mut self) -> Result<Frame, ReplicationError> {
        self.silence.start();
        let header = loop {
            tokio::select! {
                header = self.wire.header(MAX_MESSAGE_BYTES) => break header?,
                _ = self.ticks.tick() => self.report().await?,
            }
        };
        self.silence.end();
        let share = u32::try_from(cost(header.bytes)).unwrap_or(u32::MAX);
        loop {
            let budget = Arc::clone(&self.budget);
            tokio::select! {
                permits = budget.acquire_many_owned(share) => {
                    // They are added again by hand.
                    permits.map_err(|_| ReplicationError::Ended)?.forget();
                    break;
                }
                _ = self.ticks.tick() => self.report().await?,
            }
        }
        let read = async {
            loop {
                tokio::select! {
                    frame = self.wire.body(header) => return Ok(frame?),
                    _ = self.ticks.tick() => self.report().await?,
                }
            }
        };
        timeout(MESSAGE_TIMEOUT, read).await.unwrap_or(Err(ReplicationError::Stalled))
    }

    async fn event(&mut self, frame: Frame) -> Result<Option<ReplicationEvent>, ReplicationError> {
        match frame.tag {
            b'd' => {}
            b'E' => return Err(WireError::from(ServerError::parse(&frame.body)).into()),
            // Notice, setting.
            b'N' | b'S' => return Ok(None),
            b'c' | b'C' | b'Z' => return Err(ReplicationError::Ended),
            other => return Err(WireError::Unexpected(char::from(other)).into()),
        }
        let mut fields = FrameFields::new(frame);
        match fields.u8("kind")? {
            b'w' => {
                for part in ["start of its WAL", "end of the WAL", "time"] {
                    fields.u64(part)?;
                }
                Ok(Some(ReplicationEvent::Data(fields.rest())))
            }
            b'k' => {
                let end = Lsn::from_u64(fields.u64("end of the WAL")?);
                fields.u64("time")?;
                if fields.u8("request for a reply")? != 0 {
                    self.report().await?;
                }
                Ok(Some(ReplicationEvent::KeepAlive { end }))
            }
            other => Err(WireError::Unexpected(char::from(other)).into()),
        }
    }

    /// Sends the acknowledged position.
    async fn report(&mut self) -> Result<(), ReplicationError> {
        let reply = match self.silence.elapsed() >= ASK_AFTER {
            true => ReplyRequest::Now,
            false => ReplyRequest::None,
        };
        put_status(self.wire.output(), self.applied.load(Ordering::Acquire), now_micros(), reply);
        match timeout(STATUS_TIMEOUT, self.wire.flush()).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(ReplicationError::Deaf),
        }
    }
}

/// Microseconds since PostgreSQL's epoch.
fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_sub(EPOCH_MICROS)
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn stream() -> (ReplicationStream, DuplexStream) {
        let (ours, theirs) = duplex(1 << 20);
        (ReplicationStream::spawn(Wire::new(Box::new(ours))), theirs)
    }

    fn message(kind: u8, body: &[u8]) -> BytesMut {
        let mut message = BytesMut::new();
        message.put_u8(b'd');
        message.put_u32(u32::try_from(body.len()).expect("a length") + 5);
        message.put_u8(kind);
        message.put_slice(body);
        message
    }

    #[tokio::test]
    async fn passes_changes_on_and_answers_a_request_with_the_position() {
        let (mut stream, mut server) = stream();
        server.write_all(&message(b'w', &[[0; 24].as_slice(), b"change"].concat())).await.expect("sent");
        let ReplicationEvent::Data(data) = stream.receive().await.expect("an event") else {
            panic!("no data")
        };
        assert_eq!(data, b"change"[..]);
        stream.acknowledge(Lsn::from_u64(7));
        let asked = [&9_u64.to_be_bytes()[..], &[0; 8], &[1]].concat();
        server.write_all(&message(b'k', &asked)).await.expect("sent");
        let Ok(ReplicationEvent::KeepAlive { end }) = stream.receive().await else { panic!("no keepalive") };
        assert_eq!(end, Lsn::from_u64(9));
        // The first status may be older than the acknowledgement.
        loop {
            let mut status = [0; 39];
            server.read_exact(&mut status).await.expect("a status");
            assert_eq!((status[0], status[5]), (b'd', b'r'));
            if status[6..14] == 7_u64.to_be_bytes() {
                break;
            }
        }
        // WHEN the stream is dropped THEN the session ends
        drop(stream);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.expect("the end");
        assert!(rest.ends_with(b"X\0\0\0\x04"), "{rest:?}");
    }

    #[tokio::test]
    async fn asks_a_silent_server_for_a_reply() {
        let (stream, mut server) = stream();
        let mut status = [0; 39];
        while status[38] == 0 {
            server.read_exact(&mut status).await.expect("a status");
        }
        assert!(stream.silence() >= ASK_AFTER, "{:?}", stream.silence());
        // WHEN it answers THEN it is not silent any more
        server.write_all(&message(b'k', &[0; 17])).await.expect("sent");
        while stream.silence() >= ASK_AFTER {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn reads_no_further_than_the_budget_and_goes_on_when_it_is_released() {
        const SIZE: usize = 5 << 20;
        let (mut stream, mut server) = stream();
        let change = message(b'w', &vec![0; 24 + SIZE]);
        let writer = tokio::spawn(async move {
            for _ in 0..20 {
                server.write_all(&change).await.expect("sent");
            }
            server
        });
        let mut held = 0;
        for _ in 0..20 {
            let event = match timeout(Duration::from_millis(300), stream.receive()).await {
                Ok(event) => event,
                // The budget is used up by what is held here.
                Err(_) => {
                    assert!(held > 1 && held * SIZE <= BUDGET_BYTES, "{held}");
                    stream.release();
                    held = 0;
                    stream.receive().await
                }
            };
            assert!(matches!(event, Ok(ReplicationEvent::Data(data)) if data.len() == SIZE));
            held += 1;
        }
        drop(writer.await.expect("a server"));
    }

    #[tokio::test]
    async fn every_end_of_the_stream_is_an_error_with_its_reason() {
        let error = b"E\0\0\0\x19C57P01\0Mshutting down\0\0";
        for (bytes, words) in [
            (&error[..], "shutting down (57P01)"),
            (b"c\0\0\0\x04", "the server ended it"),
            (b"d\0\0\0\x04", "ends before its kind"),
            (b"d\0\0\0\x07zzz", "type 'z'"),
            (b"d\x7f\xff\xff\xff", "announced a message of 2147483647 bytes"),
            (b"HTTP/1.1 200 OK", "announced a message"),
        ] {
            let (mut stream, mut server) = stream();
            server.write_all(bytes).await.expect("sent");
            let error = stream.receive().await.expect_err("an error").to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        let (mut stream, server) = stream();
        drop(server);
        assert!(stream.receive().await.is_err());
    }

    #[tokio::test]
    async fn random_messages_end_in_events_or_an_error() {
        let seed: u64 = rand::random();
        println!("SEED={seed}");
        let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
        for _ in 0..200 {
            let (mut stream, mut server) = stream();
            let mut bytes = BytesMut::new();
            for _ in 0..rand::RngExt::random_range(&mut random, 1..20) {
                let kind = b"wkwkr"[rand::RngExt::random_range(&mut random, 0..5)];
                let mut body = vec![0; rand::RngExt::random_range(&mut random, 0..60)];
                rand::Rng::fill_bytes(&mut random, &mut body);
                bytes.put_slice(&message(kind, &body));
            }
            let changed = rand::RngExt::random_range(&mut random, 0..bytes.len());
            bytes[changed] = rand::RngExt::random(&mut random);
            server.write_all(&bytes).await.expect("sent");
            // A message of a changed length may wait for the whole budget.
            let reading = async {
                while stream.receive().await.is_ok() {
                    stream.release();
                }
            };
            // The server answers to nothing, and goes.
            let (_, ended) =
                tokio::join!(async { server.shutdown().await }, timeout(Duration::from_secs(60), reading));
            ended.expect("the end of the stream");
        }
    }
}
