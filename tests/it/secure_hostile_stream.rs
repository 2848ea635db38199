//! A PostgreSQL whose replication stream lies, floods and hangs.
//!
//! A proxy in front of a real server replaces what follows the answer to `START_REPLICATION`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};

use crate::persons_dba::PEOPLE;
use crate::persons_source::{person_database, same};

tests! {
    Own names_a_hostile_stream_and_bounds_its_time_and_memory,
}

/// Peak memory of posthouse: a message of 200 MiB, which is below the limit of 256 MiB.
const MEMORY_LIMIT_KIB: u64 = 400 << 10;
/// Deadline of an error. The longest takes 120 s.
const LIMIT: Duration = Duration::from_secs(240);
/// Pause between looks at the end of a connection.
const POLL: Duration = Duration::from_millis(50);

/// The malice of a stream.
#[derive(Debug, Clone, Copy)]
enum StreamMode {
    Http,
    HugeMessage,
    ImpossibleLength,
    LargeMessage,
    UnknownFrame,
    UnknownCopyData,
    ShortHeader,
    UnknownChange,
    RelationColumns,
    RelationFlood,
    RowLength,
    UndescribedTable,
    FarPosition,
    Backwards,
    Escapes,
    Cut,
    CopyDone,
    Silent,
    Deaf,
    Drip,
}

/// Each mode that ends soon, with words of its error.
const MODES: &[(StreamMode, &str)] = &[
    (StreamMode::Http, "it announced a message of"),
    (StreamMode::HugeMessage, "it announced a message of 2147483647 bytes"),
    (StreamMode::ImpossibleLength, "it sent no message of PostgreSQL's protocol"),
    (StreamMode::LargeMessage, "it closed the connection"),
    (StreamMode::UnknownFrame, "a message of type 'q'"),
    (StreamMode::UnknownCopyData, "a message of type 'z'"),
    (StreamMode::ShortHeader, "ends before its"),
    (StreamMode::UnknownChange, "the unknown type 'Z'"),
    (StreamMode::RelationColumns, "ends before its flags of a column"),
    (StreamMode::RelationFlood, "it has described 100000 tables"),
    (StreamMode::RowLength, "ends before its value"),
    (StreamMode::UndescribedTable, "that it did not describe"),
    (StreamMode::FarPosition, "where versions end"),
    (StreamMode::Backwards, "follows one that ended at"),
    (StreamMode::Escapes, "\\u{1b}[2Jgone (XX000)"),
    (StreamMode::Cut, "it closed the connection"),
    (StreamMode::CopyDone, "the server ended it"),
];

/// Modes that posthouse waits for.
const SLOW_MODES: &[(StreamMode, &str)] = &[
    (StreamMode::Silent, "has not answered on the stream of slot"),
    // Either "the server took no status message within 30 s", or "the connection failed", if the
    // kernel finds first that no byte is taken.
    (StreamMode::Deaf, "ended: the "),
];
/// The mode that takes longest.
const SLOWEST_MODES: &[(StreamMode, &str)] =
    &[(StreamMode::Drip, "the server stopped in the middle of a message for 120 s")];

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

/// A message of pgoutput, with its positions and time.
fn change(body: &[u8]) -> Vec<u8> {
    message(b'd', &[b"w".as_slice(), &[0; 24], body].concat())
}

fn keepalive(end: u64) -> Vec<u8> {
    message(b'd', &[b"k".as_slice(), &end.to_be_bytes(), &[0; 8], &[1]].concat())
}

/// A transaction without changes.
fn transaction(commit: u64) -> Vec<u8> {
    let begin = [b"B".as_slice(), &commit.to_be_bytes(), &[0; 8], &7_u32.to_be_bytes()].concat();
    let end = [b"C\0".as_slice(), &commit.to_be_bytes(), &(commit + 8).to_be_bytes(), &[0; 8]].concat();
    [change(&begin), change(&end)].concat()
}

fn relation(id: u32, columns: u16) -> Vec<u8> {
    change(&[b"R".as_slice(), &id.to_be_bytes(), b"other\0t\0d", &columns.to_be_bytes()].concat())
}

impl StreamMode {
    /// Bytes of the stream, after which the connection ends or goes on in silence.
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Http => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Self::HugeMessage => b"d\x7f\xff\xff\xff".to_vec(),
            Self::ImpossibleLength => b"d\0\0\0\x03".to_vec(),
            Self::LargeMessage => {
                [b"d".as_slice(), &(200_u32 << 20).to_be_bytes(), &vec![b'w'; 190 << 20]].concat()
            }
            Self::UnknownFrame => message(b'q', b"what"),
            Self::UnknownCopyData => message(b'd', b"zzz"),
            Self::ShortHeader => message(b'd', b"w\0\0"),
            Self::UnknownChange => change(b"Z\0\0\0"),
            Self::RelationColumns => relation(9, u16::MAX),
            Self::RelationFlood => (0..100_010).flat_map(|id| relation(id, 0)).collect(),
            Self::RowLength => change(b"I\0\0\0\x09N\0\x01t\x7f\xff\xff\xffx"),
            Self::UndescribedTable => change(b"I\0\0\0\x09N\0\x01n"),
            Self::FarPosition => keepalive(u64::MAX),
            Self::Backwards => [transaction(100), transaction(50)].concat(),
            Self::Escapes => message(b'E', "SFATAL\0CXX000\0M\u{1b}[2Jgone\0\0".as_bytes()),
            Self::Cut => b"d\0\0\x10\0w".to_vec(),
            Self::CopyDone => message(b'c', b""),
            Self::Drip => b"d\0\0\x10\0".to_vec(),
            Self::Silent | Self::Deaf => Vec::new(),
        }
    }

    fn ends(self) -> bool {
        matches!(self, Self::Cut | Self::LargeMessage)
    }
}

/// A proxy of a PostgreSQL.
struct HostileProxy {
    address: String,
    /// Mode of the streams that begin from now on; honest without one.
    mode: Arc<Mutex<Option<StreamMode>>>,
}

/// A proxied connection.
struct ProxiedConnection {
    client: TcpStream,
    server: TcpStream,
    /// Whether the client's bytes are left unread.
    is_deaf: AtomicBool,
    is_over: AtomicBool,
}

impl HostileProxy {
    fn start(upstream: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, mode) = (listener.local_addr()?.to_string(), Arc::new(Mutex::new(None)));
        let shared = Arc::clone(&mode);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (upstream, mode) = (upstream.clone(), Arc::clone(&shared));
                // Each client ends with its own connection.
                thread::spawn(move || _ = serve(client, &upstream, &mode));
            }
        });
        Ok(Self { address, mode })
    }

    fn set(&self, mode: Option<StreamMode>) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

/// Reads the first message of a client, which asks for no encryption in the end.
fn startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    /// The code of a request for TLS.
    const TLS_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4).min(1 << 16)];
        client.read_exact(&mut body)?;
        if body != TLS_REQUEST {
            return Ok([&length[..], &body].concat());
        }
        client.write_all(b"N")?;
    }
}

fn serve(mut client: TcpStream, upstream: &str, mode: &Mutex<Option<StreamMode>>) -> io::Result<()> {
    let first = startup(&mut client)?;
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(&first)?;
    let is_stream = first.windows(12).any(|bytes| bytes == b"replication\0");
    let connection =
        ProxiedConnection { client, server, is_deaf: AtomicBool::default(), is_over: AtomicBool::default() };
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = connection.pass_requests();
            connection.end();
        });
        let _ = match is_stream {
            true => connection.pass_answers(mode),
            false => io::copy(&mut &connection.server, &mut &connection.client).map(drop),
        };
        connection.end();
    });
    Ok(())
}

impl ProxiedConnection {
    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        // It may have ended before.
        let _ = (self.client.shutdown(Shutdown::Both), self.server.shutdown(Shutdown::Both));
    }

    fn pass_requests(&self) -> io::Result<()> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            while self.is_deaf.load(Ordering::SeqCst) {
                if self.is_over.load(Ordering::SeqCst) {
                    return Ok(());
                }
                thread::sleep(POLL);
            }
            match (&self.client).read(&mut bytes)? {
                0 => return Ok(()),
                read => (&self.server).write_all(bytes.get(..read).unwrap_or_default())?,
            }
        }
    }

    /// Passes messages of a replication connection on until its stream begins.
    fn pass_answers(&self, mode: &Mutex<Option<StreamMode>>) -> io::Result<()> {
        loop {
            let mut header = [0; 5];
            (&self.server).read_exact(&mut header)?;
            let length: [u8; 4] = header[1..].try_into().unwrap_or_default();
            let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
            (&self.server).read_exact(&mut body)?;
            (&self.client).write_all(&[&header[..], &body].concat())?;
            // CopyBothResponse
            if header[0] == b'W' {
                let mode = *mode.lock().unwrap_or_else(PoisonError::into_inner);
                return match mode {
                    Some(mode) => self.stream(mode),
                    None => io::copy(&mut &self.server, &mut &self.client).map(drop),
                };
            }
        }
    }

    /// Sends the stream of a mode. That of the real server, which holds the slot, is dropped.
    fn stream(&self, mode: StreamMode) -> io::Result<()> {
        if matches!(mode, StreamMode::Deaf) {
            self.is_deaf.store(true, Ordering::SeqCst);
        }
        thread::scope(|scope| {
            scope.spawn(|| io::copy(&mut &self.server, &mut io::sink()));
            let sent = self.send(mode);
            // Otherwise the server would hold the slot for a client that has gone.
            self.end();
            sent
        })
    }

    fn send(&self, mode: StreamMode) -> io::Result<()> {
        (&self.client).write_all(&mode.bytes())?;
        while !self.is_over.load(Ordering::SeqCst) && !mode.ends() {
            match mode {
                // Each asks for a reply.
                StreamMode::Deaf => (&self.client).write_all(&keepalive(0).repeat(1_000))?,
                StreamMode::Drip => {
                    (&self.client).write_all(b"w")?;
                    thread::sleep(Duration::from_secs(1));
                }
                _ => thread::sleep(POLL),
            }
        }
        Ok(())
    }
}

fn peak_kib(daemon: &Daemon) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(peak.context("no peak")?.parse()?)
}

/// Waits until posthouse is not ready for a reason with these words.
fn is_said(daemon: &Daemon, words: &str) -> anyhow::Result<String> {
    wait_until(&format!("posthouse not to be ready because {words:?}"), LIMIT, || {
        match daemon.answer("ready") {
            Ok((503, reason)) if reason.contains(words) => ControlFlow::Break(Ok(reason)),
            said => ControlFlow::Continue(anyhow!("{said:?}")),
        }
    })
    .with_context(|| daemon.log().unwrap_or_default())
}

/// Follows a person database through a proxy with each of `modes`, and honestly in the end.
fn follow(stack: &Stack, name: &str, modes: &[(StreamMode, &str)]) -> anyhow::Result<()> {
    // GIVEN persons that were copied through the proxy
    let mut site = Site::new(stack, name)?;
    let person_db: PersonDatabase<'_> = person_database(&mut site, Rules::default())?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    let proxy = HostileProxy::start(format!("127.0.0.1:{}", stack.postgres()?.port()))?;
    person_db.set(&mut site, "address", proxy.address.as_str())?;
    let daemon = Daemon::start(&mut site, "off")?;
    same(&site, &person_db, &daemon)?;
    ensure!(daemon.end()? == 0, "another exit code");
    for (mode, words) in modes {
        // WHEN the stream has a malice THEN posthouse says why it is not ready, and names the
        // server
        proxy.set(Some(*mode));
        let daemon = Daemon::start(&mut site, "off")?;
        let reason = is_said(&daemon, words).with_context(|| format!("{mode:?}"))?;
        let (log, peak) = (daemon.log()?, peak_kib(&daemon)?);
        eprintln!("secure_hostile_stream: {mode:?}: {} MiB at most: {}", peak >> 10, reason.trim());
        ensure!(reason.contains(&proxy.address), "{mode:?}: {reason}");
        ensure!(!log.contains("panicked") && !log.contains('\u{1b}'), "{mode:?}: {log:?}");
        ensure!(log.len() < 64 << 10, "{mode:?}: {} bytes of log", log.len());
        ensure!(peak < MEMORY_LIMIT_KIB, "{mode:?}: {peak} KiB");
        ensure!(daemon.end()? == 0, "{mode:?}: another exit code");
    }
    // WHEN the stream is honest THEN posthouse goes on from where it was
    proxy.set(None);
    person_db.admin()?.batch_execute("UPDATE posthog_person SET properties = '{\"a\": 1}' WHERE id < 50")?;
    let daemon = Daemon::start(&mut site, "off")?;
    same(&site, &person_db, &daemon)?;
    ensure!(!daemon.log()?.contains("taking the initial snapshot"), "{}", daemon.log()?);
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn names_a_hostile_stream_and_bounds_its_time_and_memory() -> anyhow::Result<()> {
    let stack = &Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::Silent)?;
    thread::scope(|scope| {
        let slow = [("hostile_slow", SLOW_MODES), ("hostile_drip", SLOWEST_MODES)]
            .map(|(name, modes)| scope.spawn(move || follow(stack, name, modes)));
        follow(stack, "hostile_stream", MODES)?;
        slow.into_iter().try_for_each(|slow| slow.join().map_err(|_| anyhow!("a panic"))?)
    })
}
