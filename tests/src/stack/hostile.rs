//! A server that pretends to be a ClickHouse node and answers with malice.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// The head of every answer of a real node has such a header.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nX-ClickHouse-Query-Id: a\r\n";
/// A row of `sql/inspect/cluster.sql`.
const ROW: &[u8] =
    b"{\"shard\":1,\"weight\":1,\"replica\":1,\"host\":\"h\",\"address\":\"a\",\"port\":1,\"is_local\":0}\n";
/// Bytes of a piece of an endless answer.
const PIECE: usize = 1 << 20;

/// The malice of a [`HostileNode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malice {
    /// Bytes that are no HTTP.
    Garbage,
    /// No byte at all.
    Silence,
    /// An end of the connection instead of an answer.
    Close,
    /// A head that never ends.
    EndlessHead,
    /// A head that arrives byte by byte.
    SlowHead,
    Redirect,
    /// A page of a web server.
    Page,
    /// An answer compressed without request.
    Gzip,
    /// An error message of a terabyte.
    EndlessError,
    /// An error message that is not UTF-8.
    BinaryError,
    /// An error message with commands for a terminal.
    TerminalError,
    /// Rows without end.
    EndlessRows,
    /// A row without end.
    EndlessRow,
    /// A byte a second. Probes are answered.
    Drip,
    /// An end in the middle of a row.
    Truncated,
    /// Nested JSON.
    DeepJson,
    /// Values of other types.
    WrongTypes,
    /// A chunk with an impossible size.
    BadChunk,
    Zeros,
}

impl Malice {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Garbage,
        Self::Silence,
        Self::Close,
        Self::EndlessHead,
        Self::SlowHead,
        Self::Redirect,
        Self::Page,
        Self::Gzip,
        Self::EndlessError,
        Self::BinaryError,
        Self::TerminalError,
        Self::EndlessRows,
        Self::EndlessRow,
        Self::Drip,
        Self::Truncated,
        Self::DeepJson,
        Self::WrongTypes,
        Self::BadChunk,
        Self::Zeros,
    ];

    /// Whether probes get no honest answer either.
    fn is_total(self) -> bool {
        use Malice::*;
        let of_head =
            matches!(self, Garbage | Silence | Close | EndlessHead | SlowHead | Redirect | Page | Gzip);
        of_head || matches!(self, EndlessError | BinaryError | TerminalError)
    }
}

/// Listens on a free loopback port until the process ends.
#[derive(Debug)]
pub struct HostileNode {
    address: SocketAddr,
}

impl HostileNode {
    /// Starts a node with one malice.
    ///
    /// # Errors
    /// Fails if there is no port for it.
    pub fn start(malice: Malice) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The client ends the connection, which is an error here.
                thread::spawn(move || _ = answer_all(&client, malice));
            }
        });
        Ok(Self { address })
    }

    /// The URL of its listener.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer_all(client: &TcpStream, malice: Malice) -> io::Result<()> {
    let mut requests = BufReader::new(client);
    while let Some(body) = request(&mut requests)? {
        let is_probe = body.windows(8).any(|bytes| bytes == b"SELECT 1");
        if is_probe && !malice.is_total() {
            whole(client, b"")?;
        } else if !answer(client, malice)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads one request with its body, whose length the client sends.
fn request(requests: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    requests.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Sends one answer. Returns whether the connection can take another request.
fn answer(mut client: &TcpStream, malice: Malice) -> io::Result<bool> {
    match malice {
        Malice::Garbage => client.write_all(&b"\x16\x03\x01\xff\x00garbage".repeat(100))?,
        Malice::Silence => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        Malice::Close => {}
        Malice::EndlessHead => {
            client.write_all(OK)?;
            endlessly(client, format!("X-A: {}\r\n", "a".repeat(1000)).as_bytes())?;
        }
        Malice::SlowHead => drip(client, OK, b"X-A: a\r\n")?,
        Malice::Redirect => {
            client.write_all(
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            )?;
            return Ok(true);
        }
        Malice::Page => {
            client.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
            )?;
            return Ok(true);
        }
        Malice::Gzip => {
            client.write_all(OK)?;
            client.write_all(b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00")?;
        }
        Malice::EndlessError => {
            client.write_all(
                b"HTTP/1.1 500 Internal\r\nX-ClickHouse-Exception-Code: 60\r\nContent-Length: 1099511627776\r\n\r\n\
                Code: 60. DB::Exception: ",
            )?;
            endlessly(client, &vec![b'A'; PIECE])?;
        }
        Malice::BinaryError => return error(client, b"Code: 60. DB::Exception: \xff\xfe\x1b[2JHACKED\n"),
        Malice::TerminalError => {
            return error(client, b"Code: 60. DB::Exception: \x1b[2J\x1b]0;HACKED\x07\n");
        }
        Malice::EndlessRows => chunked(client, &ROW.repeat(PIECE / ROW.len()))?,
        Malice::EndlessRow => chunked(client, &vec![b'['; PIECE])?,
        Malice::Drip => {
            let head = [OK, b"Transfer-Encoding: chunked\r\n\r\n"].concat();
            client.write_all(&head)?;
            loop {
                client.write_all(b"1\r\n \r\n")?;
                thread::sleep(Duration::from_secs(1));
            }
        }
        Malice::Truncated => {
            client.write_all(OK)?;
            client.write_all(b"Content-Length: 1000\r\n\r\n{\"shard\":1,")?;
        }
        Malice::DeepJson => return whole(client, &[&b"[".repeat(200_000)[..], &b"\n"[..]].concat()),
        Malice::WrongTypes => return whole(client, b"{\"shard\":\"x\",\"name\":7}\n"),
        Malice::BadChunk => {
            client.write_all(OK)?;
            client.write_all(b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n")?;
        }
        Malice::Zeros => return whole(client, &[0; 1000]),
    }
    Ok(false)
}

fn whole(mut client: &TcpStream, body: &[u8]) -> io::Result<bool> {
    client.write_all(OK)?;
    write!(client, "Content-Length: {}\r\n\r\n", body.len())?;
    client.write_all(body)?;
    Ok(true)
}

fn error(mut client: &TcpStream, message: &[u8]) -> io::Result<bool> {
    client.write_all(b"HTTP/1.1 500 Internal\r\nX-ClickHouse-Exception-Code: 60\r\n")?;
    write!(client, "Content-Length: {}\r\n\r\n", message.len())?;
    client.write_all(message)?;
    Ok(true)
}

fn chunked(mut client: &TcpStream, piece: &[u8]) -> io::Result<()> {
    client.write_all(OK)?;
    client.write_all(b"Transfer-Encoding: chunked\r\n\r\n")?;
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    endlessly(client, &chunk)
}

fn endlessly(mut client: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    loop {
        client.write_all(bytes)?;
    }
}

/// Sends `begin` and then `rest` again and again, a byte at a time.
fn drip(mut client: &TcpStream, begin: &[u8], rest: &[u8]) -> io::Result<()> {
    for byte in begin.iter().chain(rest.iter().cycle()) {
        client.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
