//! Bytes to and from a broker, encrypted or not, with one deadline for a request and its answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::timed_stream::TimedStream;
use crate::config::Tls;
use crate::tls;

pub(super) enum Transport {
    Plain(TimedStream),
    Encrypted(Box<StreamOwned<ClientConnection, TimedStream>>),
}

impl Transport {
    /// Connects to the first address of the host that accepts, within the limit for all of them.
    ///
    /// # Errors
    /// The last address's error.
    pub(super) fn connect(
        host: &str,
        port: u16,
        tls: Option<&(&Tls, Arc<ClientConfig>)>,
        limit: Duration,
    ) -> io::Result<Self> {
        let stream = TimedStream::new(connect(host, port, limit)?, limit);
        let Some((tls, config)) = tls else { return Ok(Self::Plain(stream)) };
        let name = tls::server_name(tls, host).map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(client, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(explain_handshake)?;
        }
        Ok(Self::Encrypted(Box::new(stream)))
    }

    /// Begins the time of the next request.
    pub(super) fn restart(&mut self, limit: Duration) {
        match self {
            Self::Plain(stream) => stream.restart(limit),
            Self::Encrypted(stream) => stream.sock.restart(limit),
        }
    }
}

fn connect(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + limit;
    let addresses = (host, port).to_socket_addrs();
    let addresses = addresses.map_err(|error| {
        let problem = format!("the name {host} can't be resolved ({error}): check it and the name server");
        io::Error::new(ErrorKind::NotFound, problem)
    })?;
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    let problem = format!("can't connect ({last}): check that a broker listens there, and firewalls");
    Err(io::Error::new(last.kind(), problem))
}

/// Adds the next step. A broker that speaks no TLS closes the connection, or answers in plain.
fn explain_handshake(error: io::Error) -> io::Error {
    let hint = match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
            ": the broker may not speak TLS at this port; remove [kafka.tls], or give the port of its TLS listener"
        }
        _ => hint(&error),
    };
    io::Error::new(error.kind(), format!("TLS failed: {error}{hint}"))
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Encrypted(stream) => stream.read(buffer).map_err(explain_alert),
        }
    }
}

/// Brokers refuse a client's certificate after the handshake of TLS 1.3.
fn explain_alert(error: io::Error) -> io::Error {
    match hint(&error) {
        "" => error,
        hint => io::Error::new(error.kind(), format!("{error}{hint}")),
    }
}

/// The next step. Each broker has its own name, so `server_name` is none.
fn hint(error: &io::Error) -> &'static str {
    let hint = tls::hint(&format!("{error} {error:?}"));
    hint.strip_suffix(", or set server_name").unwrap_or(hint)
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}
