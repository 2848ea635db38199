//! A PostgreSQL that lies, floods and hangs: each answer ends in an error that names it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::daemon::{Daemon, free_address};

tests! {
    Free names_a_hostile_postgres_and_bounds_its_time_and_memory,
    Free sends_no_password_in_the_clear,
}

/// Peak memory of posthouse. The limit of a message is 256 MiB, and no mode sends one.
const MEMORY_LIMIT_KIB: u64 = 300 << 10;
const PASSWORD: &str = "s3cret-of-the-role";

/// A message of the server.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

fn authentication(kind: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[kind.to_be_bytes().as_slice(), rest].concat())
}

fn error(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

fn setting(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

/// A row of texts.
fn row(values: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap_or(0).to_be_bytes().to_vec();
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        body.extend(value.as_bytes());
    }
    message(b'D', &body)
}

/// What a server does after the startup message.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Silent,
    Drip,
    Garbage,
    HugeMessage,
    NegativeLength,
    NotInHba,
    Escapes,
    BinaryError,
    Iterations,
    ForeignNonce,
    SettingsFlood,
    NoticeFlood,
    OddTlsAnswer,
    Standby,
    Pooler,
    PoolerThatSaysNothing,
    EndlessRows,
    EndlessEmptyRows,
    CutAnswer,
    HalfARow,
    Closes,
}

/// Each mode with words of its error.
const MODES: &[(Mode, &str)] = &[
    (Mode::Silent, "no login within 10 s"),
    (Mode::Drip, "no login within 10 s"),
    (Mode::Garbage, "it announced a message of"),
    (Mode::HugeMessage, "it announced a message of 2147483647 bytes"),
    (Mode::NegativeLength, "it announced a message of"),
    (Mode::NotInHba, "no pg_hba.conf entry"),
    (Mode::Escapes, "\\u{1b}[2Jgone (28000)"),
    (Mode::BinaryError, "does not answer at"),
    (Mode::Iterations, "SCRAM failed: SCRAM iteration count"),
    (Mode::ForeignNonce, "SCRAM failed: invalid nonce"),
    (Mode::SettingsFlood, "during the login"),
    (Mode::NoticeFlood, "during the login"),
    (Mode::OddTlsAnswer, "it answered 'H' when asked for TLS"),
    (Mode::Standby, "it is a standby"),
    (Mode::Pooler, "standard_conforming_strings is \"off\""),
    (Mode::PoolerThatSaysNothing, "is a pooler that ignores startup options"),
    (Mode::EndlessRows, "answered with more than 32 MiB"),
    (Mode::EndlessEmptyRows, "answered with more than 32 MiB"),
    (Mode::CutAnswer, "cut short"),
    (Mode::HalfARow, "ends before its"),
    (Mode::Closes, "it closed the connection"),
];

/// Reads a message of the client, which begins with its length at startup and with a tag later.
fn read_message(client: &mut TcpStream, tagged: bool) -> std::io::Result<Vec<u8>> {
    let mut header = vec![0; if tagged { 5 } else { 4 }];
    client.read_exact(&mut header)?;
    let length: [u8; 4] = header[header.len() - 4..].try_into().unwrap_or_default();
    let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4).min(1 << 20)];
    client.read_exact(&mut body)?;
    Ok(body)
}

/// Serves one client until it has gone.
fn serve(client: &mut TcpStream, mode: Mode) -> std::io::Result<()> {
    // The request for TLS.
    read_message(client, false)?;
    if matches!(mode, Mode::OddTlsAnswer) {
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        return hold(client);
    }
    client.write_all(b"N")?;
    read_message(client, false)?;
    match mode {
        Mode::Silent | Mode::OddTlsAnswer => return hold(client),
        Mode::Drip => {
            for byte in authentication(0, b"").iter().cycle() {
                client.write_all(&[*byte])?;
                thread::sleep(Duration::from_secs(1));
            }
        }
        Mode::Garbage => client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?,
        Mode::HugeMessage => client.write_all(b"R\x7f\xff\xff\xff")?,
        Mode::NegativeLength => client.write_all(b"R\xff\xff\xff\xfb")?,
        Mode::NotInHba => {
            client.write_all(&error("28000", "no pg_hba.conf entry for host \"10.0.0.1\", no encryption"))?;
        }
        Mode::Escapes => client.write_all(&error("28000", "\u{1b}[2Jgone"))?,
        Mode::BinaryError => client.write_all(&message(b'E', &[0xff; 60_000]))?,
        Mode::Iterations | Mode::ForeignNonce => {
            client.write_all(&authentication(10, b"SCRAM-SHA-256\0\0"))?;
            let first = String::from_utf8_lossy(&read_message(client, true)?).into_owned();
            let nonce = first.rsplit("r=").next().unwrap_or_default();
            let nonce = if matches!(mode, Mode::Iterations) { nonce } else { "another" };
            let challenge = format!("r={nonce}XX,s=QUJD,i=4294967295");
            client.write_all(&authentication(11, challenge.as_bytes()))?;
        }
        Mode::SettingsFlood => {
            client.write_all(&authentication(0, b""))?;
            for number in 0_u64.. {
                client.write_all(&setting(&format!("p{number}"), &"v".repeat(50_000)))?;
            }
        }
        Mode::NoticeFlood => loop {
            client.write_all(&message(b'N', &[b'n'; 10_000]))?;
        },
        Mode::Closes => return Ok(()),
        _ => return answer(client, mode),
    }
    hold(client)
}

/// Logs the client in, and answers its first statements.
fn answer(client: &mut TcpStream, mode: Mode) -> std::io::Result<()> {
    client.write_all(&authentication(0, b""))?;
    match mode {
        Mode::Standby => client.write_all(&setting("in_hot_standby", "on"))?,
        Mode::Pooler => client.write_all(&setting("standard_conforming_strings", "off"))?,
        _ => {}
    }
    let ready = message(b'Z', b"I");
    client.write_all(&ready)?;
    let settings = match mode {
        Mode::PoolerThatSaysNothing => row(&["off", "on", "Europe/Berlin", "German"]),
        _ => row(&["on", "off", "UTC", "ISO"]),
    };
    read_message(client, true)?;
    client.write_all(&[settings, message(b'C', b"SELECT 1\0"), ready.clone()].concat())?;
    read_message(client, true)?;
    client.write_all(&[row(&["1", "1s", "0"]), message(b'C', b"SELECT 1\0"), ready.clone()].concat())?;
    read_message(client, true)?;
    match mode {
        Mode::EndlessRows => loop {
            client.write_all(&row(&[&"x".repeat(100_000)]))?;
        },
        Mode::EndlessEmptyRows => {
            let rows = row(&[]).repeat(10_000);
            loop {
                client.write_all(&rows)?;
            }
        }
        Mode::CutAnswer => client.write_all(&[message(b'C', b"SELECT 1\0"), ready].concat())?,
        Mode::HalfARow => client.write_all(&message(b'D', b"\0\x02\0\0\0\x09short"))?,
        _ => {}
    }
    hold(client)
}

/// Waits until the client has gone.
fn hold(client: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(client, &mut std::io::sink()).map(drop)
}

/// A daemon without other servers, and with this PostgreSQL.
fn daemon(postgres: &str, folder: &std::path::Path) -> anyhow::Result<Daemon> {
    let (address, closed) = (free_address()?, free_address()?);
    let config = folder.join("posthouse.toml");
    std::fs::write(folder.join("topics.toml"), "")?;
    std::fs::write(folder.join("password"), PASSWORD)?;
    std::fs::write(
        &config,
        format!(
            "[clickhouse]\ntimeout = \"1s\"\n[[shards]]\n[[shards.replicas]]\nname = \"ch1\"\n\
             url = \"http://{closed}\"\naddress = \"{closed}\"\n[kafka]\nbrokers = [\"{closed}\"]\n\
             [daemon]\nlisten = \"{address}\"\n[topics]\nreconcile = \"off\"\n\
             [persons.postgres]\naddress = \"{postgres}\"\ntarget_session_attrs = \"read-write\"\n\
             database = \"people\"\nuser = \"posthouse\"\npassword_file = \"password\"\n"
        ),
    )?;
    Daemon::with(&config, address)
}

fn peak_kib(daemon: &Daemon) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(peak.context("no peak")?.parse()?)
}

fn names_a_hostile_postgres_and_bounds_its_time_and_memory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for (mode, words) in MODES {
        // GIVEN a server of this mode
        let server = TcpListener::bind("127.0.0.1:0")?;
        let address = server.local_addr()?.to_string();
        thread::spawn(move || {
            for mut client in server.incoming().map_while(Result::ok) {
                // Each client ends with its own connection.
                thread::spawn(move || serve(&mut client, *mode));
            }
        });
        // WHEN posthouse connects THEN it says why it is not ready, and names the server
        let daemon = daemon(&address, folder.path())?;
        daemon.is_not_ready(words).with_context(|| format!("{mode:?}"))?;
        let log = daemon.log()?;
        ensure!(log.contains(&address), "{mode:?}: {log}");
        ensure!(!log.contains("panicked") && !log.contains('\u{1b}'), "{mode:?}: {log:?}");
        let peak = peak_kib(&daemon)?;
        eprintln!("secure_hostile_postgres: {mode:?}: {} MiB at most", peak >> 10);
        ensure!(peak < MEMORY_LIMIT_KIB, "{mode:?}: {peak} KiB");
        ensure!(daemon.end()? == 0, "{mode:?}: another exit code");
    }
    Ok(())
}

fn sends_no_password_in_the_clear() -> anyhow::Result<()> {
    // GIVEN a server that asks for the password in the clear, and keeps what it gets
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?.to_string();
    let (sender, received) = std::sync::mpsc::channel();
    thread::spawn(move || -> std::io::Result<()> {
        for client in server.incoming() {
            let mut client = client?;
            read_message(&mut client, false)?;
            client.write_all(b"N")?;
            read_message(&mut client, false)?;
            client.write_all(&authentication(3, b""))?;
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest);
            // The receiver is gone only after the end of the test.
            let _ = sender.send(rest);
        }
        Ok(())
    });
    let folder = tempfile::tempdir()?;
    // WHEN posthouse connects THEN it refuses, and sends nothing
    let daemon = daemon(&address, folder.path())?;
    daemon.is_not_ready("it asks for the password in the clear, and the connection is not encrypted")?;
    let rest = received.recv_timeout(Duration::from_secs(60))?;
    ensure!(rest.is_empty(), "{} bytes were sent", rest.len());
    ensure!(!daemon.log()?.contains(PASSWORD), "the log has the password");
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}
