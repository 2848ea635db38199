//! Connection to one broker, for requests that librdkafka lacks.
//!
//! A connection has one request at a time.

mod bounded_answer;
mod timed_stream;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes, VersionRange};
use kafka_protocol::{ResponseError, error::ParseResponseErrorCode};

use self::bounded_answer::BoundedAnswer;
use self::timed_stream::TimedStream;
use super::ANSWER_LIMIT;
use crate::config::Login;

/// Client id in the brokers' logs.
const CLIENT_ID: StrBytes = StrBytes::from_static_str("posthouse");
/// Largest answer that is accepted. The sizes of a million partitions take a third of it.
const MAX_ANSWER: u32 = 64 << 20;

/// Versions that every broker from 1.0 to 4.x supports.
const API_VERSIONS: i16 = 0;
const SASL_HANDSHAKE: i16 = 1;
const SASL_AUTHENTICATE: i16 = 0;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    requests: i32,
    /// Limit of a request with its whole answer.
    limit: Duration,
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
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, requests: 0, limit: ANSWER_LIMIT };
        if let Some(login) = login {
            connection.log_in(login)?;
        }
        Ok(connection)
    }

    /// Sends one request and returns its answer.
    ///
    /// # Errors
    /// Fails if the whole answer takes too long or is malformed, or if the broker closes the
    /// connection, as it does on unknown requests.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.requests = self.requests.wrapping_add(1);
        let frame = frame(self.requests, version, request)?;
        let mut stream = TimedStream::new(&self.stream, self.limit);
        stream.write_all(&frame)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MAX_ANSWER {
            return Err(broken(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer)?;
        decode_answer::<R>(answer.into(), self.requests, version)
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

    /// Logs in by SASL PLAIN, in Kafka's own frames.
    fn log_in(&mut self, login: &Login) -> io::Result<()> {
        let plain = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
        if self.ask(SASL_HANDSHAKE, &plain)?.error_code.is_err() {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                "the broker does not support SASL PLAIN",
            ));
        }
        let token = format!("\0{}\0{}", login.user, login.password.secret().reveal());
        let token = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
        let answer = self.ask(SASL_AUTHENTICATE, &token)?;
        match (answer.error_code.err(), answer.error_message) {
            (None, _) => Ok(()),
            (Some(_), Some(message)) => Err(io::Error::new(ErrorKind::PermissionDenied, message.to_string())),
            (Some(error), None) => Err(io::Error::new(ErrorKind::PermissionDenied, error)),
        }
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
