//! Tests of the protocol against brokers that answer anything.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use bytes::Buf;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::*;
use crate::config::Mechanism;
use crate::secret::{Credential, SecretSource};

const NUMBER: i32 = 7;

/// An answer with its header.
fn encoded<R: Request>(answer: &R::Response, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(NUMBER);
    header.encode(&mut bytes, R::Response::header_version(version)).expect("a header");
    answer.encode(&mut bytes, version).expect("an answer");
    bytes.into()
}

fn decoded<R: Request>(bytes: &[u8], version: i16) -> io::Result<R::Response> {
    decode_answer::<R>(Bytes::copy_from_slice(bytes), NUMBER, version)
}

fn sizes() -> DescribeLogDirsResponse {
    let partition = DescribeLogDirsPartition::default().with_partition_index(300).with_is_future_key(true);
    let topic = DescribeLogDirsTopic::default()
        .with_name(StrBytes::from_static_str("t").into())
        .with_partitions(vec![partition; 2]);
    let folder = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_static_str("/data"))
        .with_topics(vec![topic]);
    DescribeLogDirsResponse::default().with_throttle_time_ms(2_000).with_results(vec![folder; 2])
}

fn group() -> ConsumerGroupDescribeResponse {
    let partitions = TopicPartitions::default().with_partitions(vec![0, i32::MAX]);
    let assignment = Assignment::default().with_topic_partitions(vec![partitions]);
    let member = Member::default().with_member_epoch(i32::MAX).with_assignment(assignment);
    let group = DescribedGroup::default().with_group_epoch(i32::MAX).with_members(vec![member; 2]);
    ConsumerGroupDescribeResponse::default().with_groups(vec![group])
}

/// Decodes the answer cut at every length, and with hostile numbers at every position.
fn survives<R: Request>(answer: &R::Response, version: i16)
where
    R::Response: PartialEq + std::fmt::Debug,
{
    let bytes = encoded::<R>(answer, version);
    assert_eq!(&decoded::<R>(&bytes, version).expect("a whole answer"), answer, "version {version}");
    for length in 0..bytes.len() {
        decoded::<R>(&bytes[..length], version).expect_err("a cut answer");
    }
    for hostile in [&b"\x7f\xff\xff\xff"[..], b"\xff\xff\xff\xff\x0f", b"\x80\0\0\0", b"\xff\xff"] {
        for start in 0..=bytes.len() - hostile.len() {
            let mut bytes = bytes.clone();
            bytes[start..start + hostile.len()].copy_from_slice(hostile);
            let _ = decoded::<R>(&bytes, version);
        }
    }
}

#[test]
fn refuses_cut_and_hostile_answers_in_all_versions() {
    survives::<ApiVersionsRequest>(&ApiVersionsResponse::default(), API_VERSIONS);
    for version in 0..=1 {
        survives::<ConsumerGroupDescribeRequest>(&group(), version);
    }
    for version in 1..=4 {
        survives::<DescribeLogDirsRequest>(&sizes(), version);
    }
}

#[test]
fn refuses_counts_beyond_the_answer_before_the_decoder_gets_them() {
    let read = |bytes: &[u8]| {
        let mut answer = BoundedAnswer::non_flexible(Bytes::copy_from_slice(bytes));
        answer.try_get_i32().ok()
    };
    assert_eq!(read(b"\0\0\xff\xff"), Some(65_535), "a partition or a time");
    assert_eq!(read(b"\xff\xff\xff\xff"), Some(-1), "a null list");
    assert_eq!(read(b"\0\x02\0\0"), None);
    assert_eq!(read(b"\x7f\xff\xff\xff"), None);
    let read = |bytes: &[u8]| {
        let mut answer = BoundedAnswer::with_header(Bytes::copy_from_slice(bytes), 1);
        while answer.try_get_u8().ok()? >= 0x80 {}
        Some(answer.remaining())
    };
    assert_eq!(read(b"\x03ab"), Some(2), "a list of two");
    assert_eq!(read(b"\x04ab"), None);
    assert_eq!(read(b"\x81\x01ab"), None);
    assert_eq!(read(b"\xff\xff\xff\xff\x0fab"), None);
    assert_eq!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7fab"), None);
}

/// A connection to a broker that runs `answer` after its first request.
fn connect(answer: impl FnOnce(TcpStream) + Send + 'static) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("a length");
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).expect("a request");
        answer(stream);
    });
    let connection = Connection::open("127.0.0.1", port, &WireAccess::default()).expect("a connection");
    // Answers have this number.
    Connection { requests: NUMBER - 1, ..connection }
}

fn send(mut stream: TcpStream, answer: &[u8]) {
    let length = u32::try_from(answer.len()).expect("a short answer");
    stream.write_all(&[&length.to_be_bytes(), answer].concat()).expect("sent");
}

#[test]
fn gives_up_on_a_broker_that_answers_byte_by_byte() {
    let mut connection = connect(|mut stream| {
        let _ = stream.write_all(&1_000_000_u32.to_be_bytes());
        while stream.write_all(b"\0").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    connection.limit = Duration::from_millis(200);
    let begun = Instant::now();
    let error = connection.ask(0, &ApiVersionsRequest::default()).expect_err("no whole answer");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "the broker's answer is not complete after 0.2 s");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn refuses_answers_to_other_requests_and_too_long_ones() {
    let mut connection = connect(|stream| send(stream, &[0; 20]));
    let error = connection.ask(0, &ApiVersionsRequest::default()).expect_err("another number");
    assert_eq!(error.to_string(), "not Kafka's protocol: the answer to another request");
    // A web server.
    let mut connection = connect(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request").expect("sent"));
    let error = connection.ask(0, &ApiVersionsRequest::default()).expect_err("too long");
    assert_eq!(error.to_string(), "not Kafka's protocol: an answer of 1213486160 bytes");
}

#[test]
fn takes_the_newest_version_that_both_sides_know() {
    let newest = |min: i16, max: i16| {
        let known = ApiVersion::default()
            .with_api_key(DescribeLogDirsRequest::KEY)
            .with_min_version(min)
            .with_max_version(max);
        let answer = ApiVersionsResponse::default().with_api_keys(vec![known]);
        let answer = encoded::<ApiVersionsRequest>(&answer, API_VERSIONS);
        connect(move |stream| send(stream, &answer))
    };
    assert_eq!(newest(0, 1).newest_version::<DescribeLogDirsRequest>().ok(), Some(1));
    assert_eq!(newest(1, 9).newest_version::<DescribeLogDirsRequest>().ok(), Some(4));
    for unknown in [
        newest(0, 0).newest_version::<DescribeLogDirsRequest>(),
        newest(1, 4).newest_version::<ConsumerGroupDescribeRequest>(),
    ] {
        assert_eq!(unknown.expect_err("unknown").kind(), ErrorKind::Unsupported);
    }
}

/// A broker that answers each request of a login with `answer`: kind of the request and round.
fn login_broker(answer: impl Fn(i16, usize) -> Option<Vec<u8>> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(io::Result::ok) {
            let mut round = 0;
            loop {
                let mut length = [0; 4];
                if stream.read_exact(&mut length).is_err() {
                    break;
                }
                let mut request = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut request).expect("a request");
                let kind = i16::from_be_bytes([request[0], request[1]]);
                let Some(body) = answer(kind, round) else { break };
                round += 1;
                send(stream.try_clone().expect("a stream"), &[&request[4..8], &body].concat());
            }
        }
    });
    port
}

fn body(answer: &impl Encodable, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).expect("an answer");
    bytes.into()
}

/// Logs in to a broker that answers `messages` in turn.
fn log_in(mechanism: Mechanism, messages: Vec<&'static [u8]>) -> io::Result<Connection> {
    let port = login_broker(move |kind, round| match kind {
        SaslHandshakeRequest::KEY => Some(body(&SaslHandshakeResponse::default(), 1)),
        _ => {
            let message = messages.get(round - 1)?;
            let answer = SaslAuthenticateResponse::default().with_auth_bytes(Bytes::from_static(message));
            Some(body(&answer, 0))
        }
    });
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "s3cret")?;
    let secret = Credential::read(SecretSource::File(file.path().to_owned())).map_err(io::Error::other)?;
    let login = Login { mechanism, user: "eve".to_owned(), secret };
    Connection::open("127.0.0.1", port, &WireAccess { login: Some(&login), tls: None })
}

#[test]
fn a_hostile_login_ends_without_the_secret_in_its_error() {
    for (mechanism, messages) in [
        (Mechanism::ScramSha256, vec![&b""[..]]),
        (Mechanism::ScramSha256, vec![&b"r=,s=,i="[..], b""]),
        (Mechanism::ScramSha512, vec![&b"r=other,s=W22Z,i=4096"[..], b"v="]),
        (Mechanism::ScramSha512, vec![&b"e=unknown-user"[..]]),
        (Mechanism::ScramSha512, vec![&[0xff; 1_000][..]]),
        (Mechanism::OauthBearer, vec![&b"{\"status\":\"invalid_token\"}"[..], b"again", b"and again"]),
        (Mechanism::Plain, vec![]),
    ] {
        let error = log_in(mechanism, messages).expect_err("a refused login").to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    log_in(Mechanism::Plain, vec![b""]).expect("a login");
    log_in(Mechanism::OauthBearer, vec![b""]).expect("a login");
}

#[test]
fn a_mechanism_that_the_broker_lacks_is_named_with_those_it_has() {
    let port = login_broker(|_, _| {
        let answer = SaslHandshakeResponse::default()
            .with_error_code(ResponseError::UnsupportedSaslMechanism.code())
            .with_mechanisms(vec![StrBytes::from_static_str("SCRAM-SHA-512")]);
        Some(body(&answer, 1))
    });
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "s3cret").expect("a secret");
    let secret = Credential::read(SecretSource::File(file.path().to_owned())).expect("a secret");
    let login = Login { mechanism: Mechanism::Plain, user: "eve".to_owned(), secret };
    let error = Connection::open("127.0.0.1", port, &WireAccess { login: Some(&login), tls: None });
    let error = error.expect_err("no PLAIN").to_string();
    assert!(
        error.contains("PLAIN") && error.contains("(it has SCRAM-SHA-512): set kafka.mechanism"),
        "{error}"
    );
}

#[test]
fn a_tls_listener_is_told_from_a_broker_without_encryption() {
    let mut connection = connect(|mut stream| stream.write_all(b"\x15\x03\x03\0\x02\x02\x50").expect("sent"));
    let error = connection.ask(0, &ApiVersionsRequest::default()).expect_err("an alert").to_string();
    assert!(error.contains("speaks TLS") && error.contains("[kafka.tls]"), "{error}");
}
