//! Sources behind a bad network, wrong credentials and odd servers.
//!
//! Posthouse either reads them or fails with a hint.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use posthouse::parts::SourceError;
use posthouse_tests::stack::{EXPIRED_KEY, PRIVATE_BUCKET, Proxy, Readers, S3Server, SECRET_KEY, wait_until};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::produce::LIMIT;
use crate::seed;
use crate::sources::{Access, parquet_file, rows};

tests! {
    Free a_flaky_and_slow_connection_loses_nothing,
    Free a_connection_that_falls_silent_is_made_again,
    Free an_outage_while_reading_is_waited_out,
    Free what_is_wrong_with_access_is_said_and_secrets_are_not,
    Free odd_web_servers_are_told_apart,
    Free a_bucket_of_another_region_is_told_as_such,
    Free a_user_in_an_address_is_sent_and_not_shown,
    Free plain_http_needs_no_certificates,
}

/// Set for the second run of this program, in an environment without certificates.
const WITHOUT_CERTIFICATES: &str = "POSTHOUSE_TESTS_WITHOUT_CERTIFICATES";

/// A server with one Parquet file, behind a proxy.
fn behind_a_proxy(seed: u64) -> anyhow::Result<(S3Server, Proxy, Vec<u8>)> {
    let server = S3Server::start(Readers::Signed)?;
    let bytes = parquet_file(&mut StdRng::seed_from_u64(seed))?;
    server.put("events", "a.parquet", &bytes)?;
    let proxy = Proxy::start(server.address())?;
    Ok((server, proxy, bytes))
}

fn a_flaky_and_slow_connection_loses_nothing() -> anyhow::Result<()> {
    // GIVEN a slow network on which every connection breaks at some point
    let seed = seed("a_flaky_and_slow_connection")?;
    let (server, proxy, bytes) = behind_a_proxy(seed)?;
    proxy.delay(Duration::from_millis(1));
    proxy.cut_each_after(2_000..600_000, seed);
    for number in 0..100 {
        server.put("events", &format!("many/{number}.parquet"), b"x")?;
    }
    // WHEN files are listed and one is read through it
    let access = Access::new(server.environment(proxy.address()))?;
    let many = access.expand(&["s3://events/many/"])?.len();
    let found = rows(access.open("s3://events/a.parquet")?)?;
    // THEN every file and row arrives, although connections broke
    ensure!(many == 100, "{many} files of 100");
    ensure!(found == rows(bytes::Bytes::from(bytes))?, "other rows");
    ensure!(proxy.resets() > 0, "no connection broke");
    Ok(())
}

fn a_connection_that_falls_silent_is_made_again() -> anyhow::Result<()> {
    // GIVEN a reader with a read timeout of one second
    let (server, proxy, bytes) = behind_a_proxy(seed("a_connection_that_falls_silent")?)?;
    let mut settings = server.environment(proxy.address());
    settings.push(("AWS_READ_TIMEOUT".to_owned(), "1s".to_owned()));
    let access = Access::new(settings)?;
    let reader = access.open("s3://events/a.parquet")?;
    // WHEN the connection falls silent until another connection is tried
    proxy.stall();
    let before = proxy.connections();
    let reading = thread::spawn(move || rows(reader));
    wait_until("another connection", LIMIT, || match proxy.connections() - before {
        0 => ControlFlow::Continue(anyhow!("none")),
        _ => ControlFlow::Break(Ok(())),
    })?;
    proxy.restore();
    // THEN the whole file is read
    let found = reading.join().map_err(|_| anyhow!("the reader panicked"))??;
    ensure!(found == rows(bytes::Bytes::from(bytes))?, "other rows");
    Ok(())
}

fn an_outage_while_reading_is_waited_out() -> anyhow::Result<()> {
    // GIVEN a file that is being read
    let (server, proxy, bytes) = behind_a_proxy(seed("an_outage_while_reading")?)?;
    let access = Access::new(server.environment(proxy.address()))?;
    let reader = access.open("s3://events/a.parquet")?;
    // WHEN the store is unreachable for longer than the retries of one request
    proxy.cut_after(700_000);
    let reading = thread::spawn(move || rows(reader));
    wait_until("eight connections to be refused", LIMIT, || match proxy.resets() {
        ..8 => ControlFlow::Continue(anyhow!("{}", proxy.resets())),
        _ => ControlFlow::Break(Ok(())),
    })?;
    proxy.restore();
    // THEN the whole file is read
    let found = reading.join().map_err(|_| anyhow!("the reader panicked"))??;
    ensure!(found == rows(bytes::Bytes::from(bytes))?, "other rows");
    Ok(())
}

fn what_is_wrong_with_access_is_said_and_secrets_are_not() -> anyhow::Result<()> {
    let server = S3Server::start(Readers::Signed)?;
    server.put("events", "a.parquet", b"x")?;
    server.put(PRIVATE_BUCKET, "a.parquet", b"x")?;
    // A port without a listener: bound and released.
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let nobody = format!("http://{nobody}");
    let object = "s3://events/a.parquet";
    for (name, value, argument, words) in [
        ("AWS_ACCESS_KEY_ID", EXPIRED_KEY, object, "the credentials have expired"),
        (
            "AWS_ACCESS_KEY_ID",
            EXPIRED_KEY,
            "s3://events/*",
            "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
        ),
        ("AWS_ACCESS_KEY_ID", "unknown-key", object, "no valid credentials (InvalidAccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "wr0ng-secret", object, "no valid credentials (SignatureDoesNotMatch"),
        ("AWS_SECRET_ACCESS_KEY", "", object, "Missing SecretAccessKey"),
        ("AWS_SKIP_SIGNATURE", "true", object, "access denied"),
        ("AWS_REGION", "us-east-1", "s3://private/a.parquet", "s3:GetObject"),
        ("AWS_REGION", "us-east-1", "s3://private/", "s3:ListBucket"),
        (
            "AWS_REGION",
            "us-east-1",
            "s3://nowhere/a.parquet",
            "the bucket of s3://nowhere/a.parquet does not exist",
        ),
        ("AWS_REGION", "us-east-1", "s3://events/b.parquet", "s3://events/b.parquet names no Parquet file"),
        ("AWS_ENDPOINT_URL", &nobody, object, "connection refused"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:9", object, "AWS_ENDPOINT_URL is not an address"),
        ("AWS_ALLOW_HTTP", "false", object, "set AWS_ALLOW_HTTP=true"),
    ] {
        let mut settings = server.environment(server.address());
        settings.retain(|(known, _)| known != name);
        settings.push((name.to_owned(), value.to_owned()));
        let error = Access::new(settings)?.expand(&[argument]).err().context("read")?;
        let text = error.to_string();
        ensure!(text.to_lowercase().contains(&words.to_lowercase()), "{name}={value}, {argument}: {text}");
        let shown = format!("{text} {error:?}");
        ensure!(
            !shown.contains(SECRET_KEY) && !shown.contains("wr0ng") && !shown.contains(EXPIRED_KEY),
            "{shown}"
        );
    }
    Ok(())
}

/// A web server that answers every request with `answer` and sends each request to the receiver.
fn web_server(answer: &'static str) -> anyhow::Result<(SocketAddr, Receiver<String>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (sender, requests) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            // The receiver is gone only after the end of the test.
            let _ = (sender.send(head.join("\n")), (&stream).write_all(answer.as_bytes()));
        }
    });
    Ok((address, requests))
}

fn odd_web_servers_are_told_apart() -> anyhow::Result<()> {
    let access = Access::new(Vec::new())?;
    for (answer, words) in [
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nwhole-one",
            "can't send parts of a file",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "access denied (status 403)",
        ),
        ("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "does not exist"),
        ("HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "status 503"),
        ("HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "can't be used"),
        ("nonsense", "no complete answer"),
        ("", "no complete answer"),
    ] {
        let (address, _requests) = web_server(answer)?;
        let error =
            access.expand(&[&format!("http://{address}/a.parquet?token=t0ken")]).err().context("read")?;
        let text = format!("{error} {error:?}");
        ensure!(
            text.contains(words) && text.contains("/a.parquet") && !text.contains("t0ken"),
            "{answer}: {text}"
        );
    }
    // Without ETag or modification time, an object's identity is its size alone, which must stay.
    let part = "HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/1\r\n\r\nx";
    let (address, _requests) = web_server(part)?;
    let object = access.expand(&[&format!("http://{address}/a.parquet")])?.remove(0);
    ensure!(object.identity().to_string() == "1 bytes", "{object:?}");
    let reader = access.runtime.block_on(object.open())?;
    ensure!(parquet::file::reader::ChunkReader::get_bytes(&reader, 0, 1)? == b"x"[..]);
    Ok(())
}

fn a_bucket_of_another_region_is_told_as_such() -> anyhow::Result<()> {
    let moved = "HTTP/1.1 301 Moved Permanently\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let malformed = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 51\r\n\r\n\
                     <Error><Code>AuthorizationHeaderMalformed</Code></E>";
    for answer in [moved, malformed] {
        let (address, _requests) = web_server(answer)?;
        let settings =
            [("AWS_ENDPOINT_URL", format!("http://{address}")), ("AWS_ALLOW_HTTP", "true".to_owned())];
        let keys = [("AWS_ACCESS_KEY_ID", "k".to_owned()), ("AWS_SECRET_ACCESS_KEY", "s".to_owned())];
        let settings =
            settings.into_iter().chain(keys).map(|(name, value)| (name.to_owned(), value)).collect();
        let error = Access::new(settings)?.expand(&["s3://events/a.parquet"]).err().context("read")?;
        ensure!(error.to_string().contains("set AWS_REGION"), "{error}");
    }
    Ok(())
}

fn a_user_in_an_address_is_sent_and_not_shown() -> anyhow::Result<()> {
    let (address, requests) =
        web_server("HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    let argument = format!("http://me:s3cret%2F+@{address}/a.parquet");
    let error = Access::new(Vec::new())?.expand(&[&argument]).err().context("read")?;
    ensure!(matches!(error, SourceError::Credentials { .. }), "{error}");
    ensure!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    // `me:s3cret/+` in base64, as in RFC 7617.
    let request = requests.recv_timeout(LIMIT)?.to_lowercase();
    ensure!(request.contains(&"authorization: Basic bWU6czNjcmV0Lys=".to_lowercase()), "{request}");
    ensure!(!request.contains("s3cret"), "{request}");
    Ok(())
}

fn plain_http_needs_no_certificates() -> anyhow::Result<()> {
    // GIVEN a machine without CA certificates: a second run of this program, in an environment that
    // hides them
    if std::env::var_os(WITHOUT_CERTIFICATES).is_none() {
        let test = "network::plain_http_needs_no_certificates";
        let mut again = Command::new(std::env::current_exe()?);
        again.args(["--exact", test]).env(WITHOUT_CERTIFICATES, "1");
        again.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/dev/null");
        let output = again.output()?;
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.contains("1 passed"), "{said}");
        return Ok(());
    }
    // WHEN a store without TLS is read THEN this succeeds
    let server = S3Server::start(Readers::Signed)?;
    server.put("events", "a.parquet", b"x")?;
    ensure!(Access::to(&server)?.expand(&["s3://events/"])?.len() == 1);
    // AND a store with TLS fails with a hint at the missing certificates
    for argument in ["https://127.0.0.1:9/a.parquet", "s3://events/a.parquet"] {
        let mut settings = server.environment(server.address());
        settings.push(("AWS_ENDPOINT_URL_S3".to_owned(), "https://127.0.0.1:9".to_owned()));
        let error = Access::new(settings)?.expand(&[argument]).err().context("read")?.to_string();
        ensure!(error.contains("SSL_CERT_FILE"), "{error}");
    }
    Ok(())
}
