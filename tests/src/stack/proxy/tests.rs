//! The proxy against an echo server.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

/// Long enough for any machine. Only a broken proxy takes this long.
const LIMIT: Duration = Duration::from_secs(30);
/// Long enough to distinguish a stalled connection from a slow thread.
const SILENCE: Duration = Duration::from_millis(200);

fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut copy = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut copy);
                let _ = stream.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn says(mut stream: &TcpStream, text: &[u8]) -> std::io::Result<()> {
    stream.write_all(text)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, text);
    Ok(())
}

#[test]
fn bytes_go_both_ways_and_an_orderly_end_stays_one() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    says(&stream, b"hello").unwrap();
    stream.write_all(&[7; 100_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [7; 100_000]);
    assert_eq!((proxy.carried(), proxy.resets()), (200_010, 0));
}

#[test]
fn a_cut_resets_old_and_new_connections_until_it_is_restored() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut old = connect(&proxy);
    says(&old, b"before").unwrap();
    proxy.cut();
    assert_eq!(old.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(says(&connect(&proxy), b"meanwhile").is_err());
    assert!(proxy.is_cut());
    proxy.restore();
    says(&connect(&proxy), b"after").unwrap();
}

#[test]
fn a_cut_comes_after_exactly_so_many_bytes() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    proxy.cut_after(7);
    // Five to the server, two back.
    stream.write_all(b"hello").unwrap();
    let mut answer = Vec::new();
    assert!(stream.read_to_end(&mut answer).is_err(), "{answer:?}");
    assert!(proxy.is_cut());
    assert_eq!(proxy.carried(), 7);
}

#[test]
fn a_stall_holds_bytes_back_and_loses_none() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    proxy.stall();
    stream.write_all(b"held").unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let silent = stream.read(&mut [0; 4]).unwrap_err();
    assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent}");
    proxy.restore();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held");
}

#[test]
fn random_lives_are_those_of_the_seed() {
    let lives = |seed| {
        let proxy = Proxy::start(echo()).unwrap();
        proxy.cut_each_after(1..1_000, seed);
        let carried = |proxy: &Proxy| {
            let before = proxy.carried();
            let mut stream = connect(proxy);
            // The connection may be reset before all bytes are written.
            let _ = stream.write_all(&[1; 2_000]);
            assert!(stream.read_to_end(&mut Vec::new()).is_err());
            proxy.carried() - before
        };
        (0..5).map(|_| carried(&proxy)).collect::<Vec<_>>()
    };
    let first = lives(3);
    assert!(first.iter().all(|life| (1..1_000).contains(life)), "{first:?}");
    assert_eq!(first, lives(3));
    assert_ne!(first, lives(4));
}

#[test]
fn a_delay_slows_and_changes_nothing() {
    let proxy = Proxy::start(echo()).unwrap();
    proxy.delay(Duration::from_millis(5));
    says(&connect(&proxy), &[9; 40_000]).unwrap();
}

#[test]
fn without_a_server_behind_it_connections_are_reset() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let proxy = Proxy::start(free).unwrap();
    assert!(says(&connect(&proxy), b"anyone?").is_err());
}
