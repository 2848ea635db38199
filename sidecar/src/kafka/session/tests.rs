//! Tests of settings, and of clients against hostile brokers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::config::Login;
use crate::kafka::Client;
use crate::secret::{Credential, SecretSource};

/// Far beyond the limits of a request and its diagnosis.
const PATIENCE: Duration = Duration::from_secs(90);

fn brokers(port: u16) -> Kafka {
    let address = HostPort { host: "127.0.0.1".to_owned(), port };
    Kafka {
        brokers: vec![address],
        topics_file: PathBuf::new(),
        named_collection: None,
        access: KafkaAccess::default(),
    }
}

fn login(mechanism: Mechanism) -> (tempfile::NamedTempFile, Login) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "s3cret").expect("a secret");
    let secret = Credential::read(SecretSource::File(file.path().to_owned())).expect("a secret");
    (file, Login { mechanism, user: "eve".to_owned(), secret })
}

#[test]
fn the_library_gets_the_login_and_the_trust_of_the_config() {
    let mut kafka = brokers(9094);
    let set = |kafka: &Kafka, key: &str| {
        let config = Brokers::new(kafka).library_config().expect("settings");
        config.get(key).map(str::to_owned)
    };
    assert_eq!(set(&kafka, "security.protocol").as_deref(), Some("PLAINTEXT"));
    let (_file, login) = login(Mechanism::ScramSha512);
    kafka.access.login = Some(login);
    assert_eq!(set(&kafka, "security.protocol").as_deref(), Some("SASL_PLAINTEXT"));
    assert_eq!(set(&kafka, "sasl.mechanism").as_deref(), Some("SCRAM-SHA-512"));
    assert_eq!(set(&kafka, "sasl.password").as_deref(), Some("s3cret"));
    kafka.access.tls = Some(Tls::default());
    assert_eq!(set(&kafka, "security.protocol").as_deref(), Some("SASL_SSL"));
    assert_eq!(set(&kafka, "ssl.ca.location").as_deref(), Some("probe"));
    assert_eq!(set(&kafka, "enable.ssl.certificate.verification").as_deref(), Some("true"));
    assert_eq!(set(&kafka, "ssl.endpoint.identification.algorithm").as_deref(), Some("https"));
    let unverified = Tls { verification: Verification::None, ..Tls::default() };
    kafka.access.tls = Some(unverified);
    assert_eq!(set(&kafka, "enable.ssl.certificate.verification").as_deref(), Some("false"));
    assert_eq!(set(&kafka, "ssl.endpoint.identification.algorithm").as_deref(), Some("none"));
}

#[test]
fn a_missing_file_of_tls_is_named() {
    let mut kafka = brokers(9094);
    kafka.access.tls = Some(Tls { ca_file: Some("/nowhere/ca.pem".into()), ..Tls::default() });
    let error = Client::new(&kafka).err().expect("no CA");
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("/nowhere/ca.pem") && error.contains("kafka.tls"), "{error}");
}

type Behaviour = fn(TcpStream);

/// Listens, and behaves in this way with every client.
fn hostile(behaviour: Behaviour) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || behaviour(stream));
        }
    });
    port
}

/// Reads a request and returns its number.
fn request(stream: &mut TcpStream) -> Option<[u8; 4]> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut request = vec![0; u32::from_be_bytes(length).min(1 << 20) as usize];
    stream.read_exact(&mut request).ok()?;
    request.get(4..8)?.try_into().ok()
}

/// Sends an answer with the number of the request, and waits for the next.
fn answer_all(mut stream: TcpStream, length: Option<u32>, body: &[u8]) {
    while let Some(number) = request(&mut stream) {
        let length = length.unwrap_or(4 + u32::try_from(body.len()).expect("a short body"));
        let answer = [&length.to_be_bytes()[..], &number, body].concat();
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn hostile_brokers_end_in_an_error_with_their_name() {
    let behaviours: [(&str, Behaviour); 9] = [
        ("says nothing", |stream| {
            thread::sleep(PATIENCE);
            drop(stream);
        }),
        ("closes", drop),
        ("garbage", |mut stream| {
            let _ = stream.write_all(&b"\xff\x00HTTP/1.1 400 Bad Request\r\n\r\n".repeat(1_000));
            thread::sleep(PATIENCE);
        }),
        ("gigabytes", |stream| answer_all(stream, Some(0x7fff_ffff), b"\0\0")),
        ("negative length", |stream| answer_all(stream, Some(0xffff_ffff), b"\0\0")),
        ("half an answer", |stream| answer_all(stream, Some(1_000), b"\0\0\0\0\0\x01")),
        ("counts", |stream| {
            answer_all(stream, None, b"\0\0\x7f\xff\xff\xff\x7f\xff\xff\xff\x7f\xff\xff\xff");
        }),
        ("null counts", |stream| answer_all(stream, None, &[0xff; 64])),
        ("drips", |mut stream| {
            let _ = stream.write_all(&1_000_u32.to_be_bytes());
            while stream.write_all(b"\0").is_ok() {
                thread::sleep(Duration::from_secs(1));
            }
        }),
    ];
    let asked = behaviours.map(|(name, behaviour)| {
        let port = hostile(behaviour);
        tokio::spawn(async move {
            let client = Client::new(&brokers(port)).expect("a client");
            let answer = tokio::time::timeout(PATIENCE, client.cluster()).await;
            let error = answer.unwrap_or_else(|_| panic!("{name}: no end")).expect_err(name).to_string();
            assert!(error.contains(&format!("127.0.0.1:{port}")), "{name}: {error}");
            println!("{name}: {error}");
        })
    });
    for asked in asked {
        asked.await.expect("an error");
    }
}
