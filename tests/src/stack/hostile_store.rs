//! A server that pretends to be an object store and answers with malice.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// Bytes of a piece of an endless answer.
const PIECE: usize = 1 << 20;
/// A size that no file has.
const HUGE: u64 = 1 << 40;

/// The malice of a [`HostileStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMalice {
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
    /// A redirect to another server.
    Redirect,
    /// A redirect to the same address.
    RedirectLoop,
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
    /// A body without end.
    EndlessBody,
    /// A body of a byte a second.
    Drip,
    /// An end in the middle of the body.
    Truncated,
    /// A body of a terabyte, of which some bytes arrive.
    HugeLength,
    /// Deeply nested XML, or a footer of a wrong length.
    Nested,
    /// The same page of a listing each time, or another range than requested.
    Repeated,
    /// An object of a terabyte.
    HugeObject,
    /// Another version of the object in each answer.
    OtherVersions,
}

impl StoreMalice {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Garbage,
        Self::Silence,
        Self::Close,
        Self::EndlessHead,
        Self::SlowHead,
        Self::Redirect,
        Self::RedirectLoop,
        Self::Page,
        Self::Gzip,
        Self::EndlessError,
        Self::BinaryError,
        Self::TerminalError,
        Self::EndlessBody,
        Self::Drip,
        Self::Truncated,
        Self::HugeLength,
        Self::Nested,
        Self::Repeated,
        Self::HugeObject,
        Self::OtherVersions,
    ];
}

/// The answers that have malice. All others are honest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreStage {
    /// Listings.
    Listing,
    /// Reads of the object, after so many honest ones.
    Reads(u64),
    None,
}

/// Listens on a free loopback port until the process ends. Each of its buckets has one object.
#[derive(Debug)]
pub struct HostileStore {
    address: SocketAddr,
    reads: Arc<AtomicU64>,
}

/// The behavior of a store.
#[derive(Debug, Clone)]
struct Behavior {
    malice: StoreMalice,
    stage: StoreStage,
    /// Key and bytes of the object.
    key: String,
    bytes: Arc<[u8]>,
    reads: Arc<AtomicU64>,
}

/// A request without its body.
struct Request {
    target: String,
    /// First and last byte.
    range: Option<(usize, usize)>,
}

impl HostileStore {
    /// Starts a store with an object.
    ///
    /// # Errors
    /// Fails if there is no port for it.
    pub fn start(malice: StoreMalice, stage: StoreStage, key: &str, bytes: &[u8]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port on 127.0.0.1")?;
        let (address, reads) = (listener.local_addr()?, Arc::default());
        let behavior =
            Behavior { malice, stage, key: key.to_owned(), bytes: bytes.into(), reads: Arc::clone(&reads) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let behavior = behavior.clone();
                // The client ends the connection, which is an error here.
                thread::spawn(move || _ = behavior.serve(&client));
            }
        });
        Ok(Self { address, reads })
    }

    /// The address of its listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads of the object so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// The environment variables of a program that reads from it.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_SKIP_SIGNATURE", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

impl Behavior {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let mut requests = BufReader::new(client);
        while let Some(request) = read_request(&mut requests)? {
            let is_kept = match request.target.contains("list-type=2") {
                true if self.stage == StoreStage::Listing => self.list_with_malice(client, &request)?,
                true => {
                    whole(client, "200 OK", "Content-Type: application/xml\r\n", self.page("").as_bytes())?
                }
                false => self.read(client, &request)?,
            };
            if !is_kept {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read(&self, client: &TcpStream, request: &Request) -> io::Result<bool> {
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        match self.stage {
            StoreStage::Reads(honest) if number >= honest => self.read_with_malice(client, request),
            _ => self.part(client, request),
        }
    }

    /// A page of a listing, with more elements.
    fn page(&self, more: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name>{more}<Contents><Key>{}</Key>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"{}\"</ETag><Size>{}</Size></Contents>\
             </ListBucketResult>",
            self.key,
            self.key,
            self.size()
        )
    }

    fn size(&self) -> u64 {
        match (self.malice, self.stage) {
            (StoreMalice::HugeObject, StoreStage::Reads(0)) => HUGE,
            _ => self.bytes.len() as u64,
        }
    }

    /// The requested bytes of the object, and their last position.
    fn wanted(&self, request: &Request) -> (usize, &[u8]) {
        let end = self.bytes.len();
        let (first, last) = request.range.unwrap_or((0, end.saturating_sub(1)));
        (first, self.bytes.get(first..(last + 1).min(end)).unwrap_or_default())
    }

    fn head_of(&self, request: &Request, length: usize) -> String {
        let (first, _) = self.wanted(request);
        format!(
            "Content-Range: bytes {first}-{}/{}\r\nETag: \"{}\"\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n",
            first + length.saturating_sub(1),
            self.size(),
            self.key
        )
    }

    /// An honest answer to a read.
    fn part(&self, client: &TcpStream, request: &Request) -> io::Result<bool> {
        let (_, bytes) = self.wanted(request);
        whole(client, "206 Partial Content", &self.head_of(request, bytes.len()), bytes)
    }

    fn list_with_malice(&self, client: &TcpStream, request: &Request) -> io::Result<bool> {
        let ok = "200 OK";
        match self.malice {
            StoreMalice::EndlessBody => {
                let contents = "<Contents><Key>a</Key><Size>1</Size></Contents>".repeat(20_000);
                endless_body(client, ok, "", contents.as_bytes())
            }
            StoreMalice::Drip => drip_body(client, ok, "", b" "),
            StoreMalice::Truncated => cut_body(client, ok, "", &self.page("").as_bytes()[..40]),
            StoreMalice::HugeLength => huge_body(client, ok, "", b"<ListBucketResult>"),
            StoreMalice::Nested => {
                whole(client, ok, "", ["<a>".repeat(2_000_000), self.page("")].concat().as_bytes())
            }
            StoreMalice::Repeated => {
                let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>";
                whole(client, ok, "", self.page(more).as_bytes())
            }
            // The object's own malice: a size and a version that its reads don't have.
            StoreMalice::HugeObject => {
                let size = format!("<Size>{}</Size>", self.bytes.len());
                whole(client, ok, "", self.page("").replace(&size, "<Size>-1</Size>").as_bytes())
            }
            StoreMalice::OtherVersions => {
                let tag = format!("<ETag>\"{}\"</ETag>", self.key);
                whole(client, ok, "", self.page("").replace(&tag, "<ETag>\"other\"</ETag>").as_bytes())
            }
            _ => self.any_with_malice(client, request),
        }
    }

    fn read_with_malice(&self, client: &TcpStream, request: &Request) -> io::Result<bool> {
        let partial = "206 Partial Content";
        let (_, bytes) = self.wanted(request);
        let head = self.head_of(request, bytes.len());
        match self.malice {
            StoreMalice::EndlessBody => endless_body(client, partial, &head, &vec![b'x'; PIECE]),
            StoreMalice::Drip => drip_body(client, partial, &head, b"x"),
            StoreMalice::Truncated => cut_body(client, partial, &head, &bytes[..bytes.len() / 2]),
            StoreMalice::HugeLength => huge_body(client, partial, &head, &bytes[..bytes.len() / 2]),
            StoreMalice::Nested => {
                let mut bytes = bytes.to_vec();
                if let Some(length) = bytes.len().checked_sub(8).and_then(|at| bytes.get_mut(at..at + 4)) {
                    length.copy_from_slice(&0x7fff_fff0_u32.to_le_bytes());
                }
                whole(client, partial, &head, &bytes)
            }
            StoreMalice::Repeated => {
                let head = format!("Content-Range: bytes 7-9/{}\r\nETag: \"{}\"\r\n", self.size(), self.key);
                whole(client, partial, &head, b"abc")
            }
            StoreMalice::HugeObject => endless_body(client, partial, &head, &b"PAR1".repeat(1 << 16)),
            StoreMalice::OtherVersions => {
                let version = format!("ETag: \"{}\"", self.reads.load(Ordering::SeqCst));
                let head = head.replace(&format!("ETag: \"{}\"", self.key), &version);
                whole(client, partial, &head, bytes)
            }
            _ => self.any_with_malice(client, request),
        }
    }

    /// Malice that does not depend on the request.
    fn any_with_malice(&self, mut client: &TcpStream, request: &Request) -> io::Result<bool> {
        const ERROR: &str = "<Error><Code>InternalError</Code><Message>";
        match self.malice {
            StoreMalice::Garbage => client.write_all(&b"\x16\x03\x01\xff\x00garbage".repeat(100))?,
            StoreMalice::Silence => loop {
                thread::sleep(Duration::from_secs(3600));
            },
            StoreMalice::EndlessHead => {
                client.write_all(b"HTTP/1.1 200 OK\r\n")?;
                endlessly(client, format!("X-A: {}\r\n", "a".repeat(1_000)).as_bytes())?;
            }
            StoreMalice::SlowHead => {
                for byte in b"HTTP/1.1 200 OK\r\n".iter().chain(b"X-A: a\r\n".iter().cycle()) {
                    client.write_all(&[*byte])?;
                    thread::sleep(Duration::from_millis(500));
                }
            }
            StoreMalice::Redirect => {
                return whole(client, "302 Found", "Location: http://127.0.0.1:1/\r\n", b"");
            }
            StoreMalice::RedirectLoop => {
                return whole(client, "302 Found", &format!("Location: {}\r\n", request.target), b"");
            }
            StoreMalice::Page => return whole(client, "200 OK", "Content-Type: text/html\r\n", b"<html>"),
            StoreMalice::Gzip => {
                return whole(client, "200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\x00");
            }
            StoreMalice::EndlessError => {
                return endless_body(client, "500 Internal", "", &vec![b'A'; PIECE]);
            }
            StoreMalice::BinaryError => return whole(client, "400 Bad", "", &[0xff; 100_000]),
            StoreMalice::TerminalError => {
                return whole(client, "400 Bad", "", format!("{ERROR}\u{1b}[2Jgone").as_bytes());
            }
            // An end of the connection.
            _ => {}
        }
        Ok(false)
    }
}

/// Reads the head of one request. Stores get no body here.
fn read_request(requests: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if requests.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(Some(Request { target, range }));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("range")
        {
            let bounds = value.trim().strip_prefix("bytes=").and_then(|bounds| bounds.split_once('-'));
            range = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        }
    }
}

fn whole(mut client: &TcpStream, status: &str, head: &str, body: &[u8]) -> io::Result<bool> {
    write!(client, "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n", body.len())?;
    client.write_all(body)?;
    Ok(true)
}

fn endless_body(mut client: &TcpStream, status: &str, head: &str, piece: &[u8]) -> io::Result<bool> {
    write!(client, "HTTP/1.1 {status}\r\n{head}Transfer-Encoding: chunked\r\n\r\n")?;
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    endlessly(client, &chunk)
}

fn drip_body(mut client: &TcpStream, status: &str, head: &str, byte: &[u8]) -> io::Result<bool> {
    write!(client, "HTTP/1.1 {status}\r\n{head}Transfer-Encoding: chunked\r\n\r\n")?;
    loop {
        client.write_all(&[b"1\r\n", byte, b"\r\n"].concat())?;
        thread::sleep(Duration::from_secs(1));
    }
}

/// Sends fewer bytes than announced, and ends the connection.
fn cut_body(mut client: &TcpStream, status: &str, head: &str, begin: &[u8]) -> io::Result<bool> {
    write!(client, "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n", 2 * begin.len() + 1)?;
    client.write_all(begin)?;
    Ok(false)
}

fn huge_body(mut client: &TcpStream, status: &str, head: &str, begin: &[u8]) -> io::Result<bool> {
    write!(client, "HTTP/1.1 {status}\r\n{head}Content-Length: {HUGE}\r\n\r\n")?;
    client.write_all(begin)?;
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn endlessly(mut client: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
    loop {
        client.write_all(bytes)?;
    }
}
