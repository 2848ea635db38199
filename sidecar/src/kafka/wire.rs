//! Kafka's wire protocol, for requests that librdkafka lacks.
//!
//! A connection has one request at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use super::ANSWER_LIMIT;
use crate::config::Login;

/// Client id in the brokers' logs.
const CLIENT_ID: &str = "posthouse";
/// Largest answer that is accepted. The sizes of a million partitions take a third of it.
const MAX_ANSWER: u32 = 64 << 20;

const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    requests: i32,
}

impl Connection {
    /// Connects, and logs in if a login is given.
    ///
    /// # Errors
    /// Fails if the broker is unreachable or rejects the login.
    pub fn open(host: &str, port: u16, login: Option<&Login>) -> io::Result<Self> {
        let address = (host, port).to_socket_addrs()?.next();
        let address =
            address.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{host} has no address")))?;
        let stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, requests: 0 };
        if let Some(login) = login {
            connection.log_in(login)?;
        }
        Ok(connection)
    }

    /// Sends one request in its non-flexible form and returns the answer without its header.
    ///
    /// # Errors
    /// Fails if the broker is silent or closes the connection, as it does on unknown requests.
    pub fn ask(&mut self, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
        self.requests += 1;
        let mut request = WireWriter::default();
        request.i16(api).i16(version).i32(self.requests).text(CLIENT_ID);
        request.0.extend_from_slice(body);
        let length = u32::try_from(request.0.len()).map_err(|_| broken("a request too large"))?;
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(&request.0)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if !(4..=MAX_ANSWER).contains(&length) {
            return Err(broken(&format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length as usize];
        self.stream.read_exact(&mut answer)?;
        let (number, answer) = answer.split_at(4);
        if number != self.requests.to_be_bytes() {
            return Err(broken("the answer to another request"));
        }
        Ok(answer.to_vec())
    }

    /// Logs in by SASL PLAIN, in Kafka's own frames.
    fn log_in(&mut self, login: &Login) -> io::Result<()> {
        let mut mechanism = WireWriter::default();
        mechanism.text("PLAIN");
        let answer = self.ask(SASL_HANDSHAKE, 1, &mechanism.0)?;
        if WireReader(&answer).i16() != Some(0) {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                "the broker does not support SASL PLAIN",
            ));
        }
        let token = format!("\0{}\0{}", login.user, login.password.reveal());
        let mut body = WireWriter::default();
        body.bytes(token.as_bytes());
        let answer = self.ask(SASL_AUTHENTICATE, 0, &body.0)?;
        let mut answer = WireReader(&answer);
        match (answer.i16(), answer.text()) {
            (Some(0), _) => Ok(()),
            (_, Some(message)) => Err(io::Error::new(ErrorKind::PermissionDenied, message)),
            _ => Err(broken("the answer to a login")),
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not Kafka's protocol: {what}"))
}

/// Writer of values in Kafka's non-flexible encoding.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WireWriter(pub Vec<u8>);

impl WireWriter {
    pub fn i8(&mut self, value: i8) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Writes a text after its length, cut at 32 KiB. No name is as long.
    pub fn text(&mut self, text: &str) -> &mut Self {
        let bytes = &text.as_bytes()[..text.len().min(i16::MAX as usize)];
        self.i16(bytes.len() as i16);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Writes bytes after their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Reader of values in Kafka's non-flexible encoding; `None` where there are too few bytes.
#[derive(Debug, Clone, Copy)]
pub struct WireReader<'a>(pub &'a [u8]);

impl WireReader<'_> {
    pub fn i8(&mut self) -> Option<i8> {
        Some(i8::from_be_bytes(*self.0.split_off(..1)?.first_chunk()?))
    }

    pub fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(*self.0.split_off(..2)?.first_chunk()?))
    }

    pub fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(*self.0.split_off(..4)?.first_chunk()?))
    }

    pub fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(*self.0.split_off(..8)?.first_chunk()?))
    }

    /// Reads a text; a null text is empty.
    pub fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).unwrap_or_default();
        Some(String::from_utf8_lossy(self.0.split_off(..length)?).into_owned())
    }

    /// Reads a list with `item`; a null list is empty. A count beyond the end allocates no memory.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.i32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_is_read_beyond_the_end() {
        let mut written = WireWriter::default();
        written.i8(-3).i16(-300).i32(70_000).text("näme").i32(2).i16(1).i16(2);
        let read = |bytes| {
            let mut reader = WireReader(bytes);
            Some((reader.i8()?, reader.i16()?, reader.i32()?, reader.text()?, reader.list(WireReader::i16)?))
        };
        assert_eq!(read(&written.0), Some((-3, -300, 70_000, "näme".to_owned(), vec![1, 2])));
        for length in 0..written.0.len() {
            assert_eq!(read(&written.0[..length]), None, "{length}");
        }
        assert_eq!(WireReader(b"\x7f\xff\xff\xff").list(WireReader::i8), None);
        assert_eq!(WireReader(b"\xff\xff\xff\xff").list(WireReader::i8), Some(vec![]));
    }
}
