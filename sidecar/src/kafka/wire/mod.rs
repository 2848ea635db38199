//! Connection to one broker, for requests that librdkafka lacks.
//!
//! A connection has one request at a time.

mod bounded_answer;
mod login;
mod scram;
mod timed_stream;
mod transport;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes, VersionRange};
use rustls::ClientConfig;

use self::bounded_answer::BoundedAnswer;
use self::transport::Transport;
use super::ANSWER_LIMIT;
use crate::config::{Login, Tls};

/// Client id in the brokers' logs.
const CLIENT_ID: StrBytes = StrBytes::from_static_str("posthouse");
/// Largest answer that is accepted. The sizes of a million partitions take a third of it.
const MAX_ANSWER: u32 = 64 << 20;
/// First two bytes of an alert of TLS, which a broker sends to a client without TLS.
const TLS_ALERT: u32 = 0x1503;

/// Versions that every broker from 1.0 to 4.x supports.
const API_VERSIONS: i16 = 0;

/// Login and encryption of a connection.
#[derive(Clone, Default)]
pub struct WireAccess<'a> {
    pub(crate) login: Option<&'a Login>,
    /// The config's table, and what was made of it.
    pub(crate) tls: Option<(&'a Tls, Arc<ClientConfig>)>,
}

/// Address that the brokers advertise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BrokerAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

pub struct Connection {
    transport: Transport,
    requests: i32,
    /// Limit of a request with its whole answer.
    limit: Duration,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, encrypts and logs in as `access` says. A refused secret is read again, once.
    ///
    /// # Errors
    /// Fails if the broker is unreachable, not trusted, or rejects the login.
    pub fn open(host: &str, port: u16, access: &WireAccess<'_>) -> io::Result<Self> {
        let connect = || -> io::Result<Self> {
            let transport = Transport::connect(host, port, access.tls.as_ref(), ANSWER_LIMIT)?;
            Ok(Self { transport, requests: 0, limit: ANSWER_LIMIT })
        };
        let mut connection = connect()?;
        let Some(login) = access.login else { return Ok(connection) };
        let secret = login.secret.secret();
        match connection.log_in(login, &secret) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && login.secret.reread(&secret) => {
                connection = connect()?;
                connection.log_in(login, &login.secret.secret())?;
            }
            done => done?,
        }
        Ok(connection)
    }

    /// Returns the brokers' advertised addresses.
    ///
    /// # Errors
    /// Fails as [`Connection::ask`] does, for example if the broker demands a login.
    pub(crate) fn brokers(&mut self) -> io::Result<Vec<BrokerAddress>> {
        let version = self.newest_version::<MetadataRequest>()?;
        // An empty list asks for no topic.
        let known = self.ask(version, &MetadataRequest::default().with_topics(Some(Vec::new())))?;
        let address = |broker: kafka_protocol::messages::metadata_response::MetadataResponseBroker| {
            Some(BrokerAddress { host: broker.host.to_string(), port: u16::try_from(broker.port).ok()? })
        };
        Ok(known.brokers.into_iter().filter_map(address).collect())
    }

    /// Sends one request and returns its answer.
    ///
    /// # Errors
    /// Fails if the whole answer takes too long or is malformed, or if the broker closes the
    /// connection, as it does on unknown requests.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.requests = self.requests.wrapping_add(1);
        let frame = frame(self.requests, version, request)?;
        self.transport.restart(self.limit);
        let answer = self.exchange(&frame).map_err(explain_end)?;
        decode_answer::<R>(answer.into(), self.requests, version)
    }

    /// Sends a frame and returns the next one.
    fn exchange(&mut self, frame: &[u8]) -> io::Result<Vec<u8>> {
        let stream = &mut self.transport;
        stream.write_all(frame)?;
        stream.flush()?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length >> 16 == TLS_ALERT {
            return Err(broken(
                "the broker speaks TLS at this port; add [kafka.tls], or give the port of its plain listener",
            ));
        }
        if length > MAX_ANSWER {
            return Err(broken(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    /// Returns the newest version of a request that both the broker and posthouse know.
    ///
    /// # Errors
    /// Fails as [`Connection::ask`] does, and if the broker knows no version.
    pub(crate) fn newest_version<R: Request>(&mut self) -> io::Result<i16> {
        let known = self.ask(API_VERSIONS, &ApiVersionsRequest::default())?;
        refused(known.error_code)?;
        let known = known.api_keys.iter().find(|known| known.api_key == R::KEY);
        let known = known.map(|known| VersionRange { min: known.min_version, max: known.max_version });
        match known.map(|known| known.intersect(&R::VERSIONS)) {
            Some(versions) if !versions.is_empty() => Ok(versions.max),
            _ => Err(io::Error::new(
                ErrorKind::Unsupported,
                format!("the broker has no version of request {} that posthouse knows", R::KEY),
            )),
        }
    }
}

/// Adds the next step to a connection that the broker has closed.
fn explain_end(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => io::Error::new(
            error.kind(),
            "the broker closes the connection: it may demand TLS ([kafka.tls]) or a login (kafka.user)",
        ),
        _ => error,
    }
}

/// Decodes a message that is not an answer, with the same bounds.
///
/// # Errors
/// Fails if the bytes are malformed.
pub(super) fn decode_message<M: Decodable>(bytes: Bytes, version: i16) -> io::Result<M> {
    M::decode(&mut BoundedAnswer::non_flexible(bytes), version).map_err(broken)
}

/// Fails if an answer's code is an error.
pub(super) fn refused(code: i16) -> io::Result<()> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(io::Error::other(error)),
    }
}

/// A request with its length and header.
fn frame<R: Request>(number: i32, version: i16, request: &R) -> io::Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(number)
        .with_client_id(Some(CLIENT_ID));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).map_err(io::Error::other)?;
    request.encode(&mut body, version).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.put_u32(length);
    frame.unsplit(body);
    Ok(frame)
}

fn decode_answer<R: Request>(answer: Bytes, number: i32, version: i16) -> io::Result<R::Response> {
    let header_version = R::Response::header_version(version);
    let mut answer = BoundedAnswer::with_header(answer, header_version);
    let header = ResponseHeader::decode(&mut answer, header_version).map_err(broken)?;
    if header.correlation_id != number {
        return Err(broken("the answer to another request"));
    }
    R::Response::decode(&mut answer, version).map_err(broken)
}

fn broken(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not Kafka's protocol: {what}"))
}
