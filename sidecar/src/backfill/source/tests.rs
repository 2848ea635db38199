//! Tests that no secret reaches a log, an error or a record.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that answers each request with the next of `answers`, and closes the connection.
fn server(answers: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for (answer, stream) in answers.iter().zip(listener.incoming()) {
            let mut stream = stream.expect("a connection");
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).for_each(drop);
            stream.write_all(answer.as_bytes()).expect("written");
        }
    });
    port
}

#[test]
fn no_log_of_any_library_has_a_secret_at_any_level() {
    // The server is busy, then breaks off, then has the file, then refuses.
    let (close, body) = ("Connection: close\r\nContent-Length:", "\r\n\r\n");
    let answers = [
        format!("HTTP/1.1 503 Busy\r\n{close} 0{body}"),
        "HTTP/1.1 2".to_owned(),
        format!("HTTP/1.1 206 P\r\n{close} 1\r\nETag: \"t\"\r\nContent-Range: bytes 0-0/9{body}x"),
        format!("HTTP/1.1 206 P\r\n{close} 9\r\nETag: \"t\"\r\nContent-Range: bytes 0-8/9{body}torn"),
        format!("HTTP/1.1 403 No\r\n{close} 0{body}"),
    ];
    let port = server(answers.to_vec());
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), || {
        // A single thread, so that this subscriber sees all events.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let address = format!("http://me:s3cret@127.0.0.1:{port}/a.parquet?X-Amz-Signature=s3cret#s3cret");
        let objects = runtime.block_on(Sources::default().expand(&[address])).expect("an object");
        assert_eq!(objects[0].location, format!("http://127.0.0.1:{port}/a.parquet"));
        assert!(!format!("{objects:?} {}", objects[0].identity()).contains("s3cret"));
        let object::Access::Remote { remote, path } = &objects[0].access else { panic!("a remote object") };
        let file = fetch::RemoteFile::new(&objects[0], remote, path);
        let error = runtime.block_on(file.fetch(0..9)).expect_err("refused");
        assert!(!format!("{error} {error:?} {file:?}").contains("s3cret"), "{error:?}");
    });
    let log = String::from_utf8(log.0.lock().expect("the log").clone()).expect("UTF-8");
    assert!(log.contains("backing off"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn what_is_found_and_opened_can_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    fn is_shared<T: Send + Sync + 'static>() {}
    let sources = Sources::default();
    moves(sources.expand(&[]));
    moves(|object: Object| async move { object.open().await });
    is_shared::<Sources>();
    is_shared::<Object>();
    is_shared::<ObjectReader>();
    is_shared::<SourceError>();
}
