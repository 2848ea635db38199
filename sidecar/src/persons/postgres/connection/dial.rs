//! Connections to the hosts of a config, by TCP or Unix socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::wire::ByteStream;
use crate::config::PostgresHost;

/// Time limit of a connection attempt to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// TCP keepalive: idle time, then interval and number of probes. It detects a server that has
/// vanished.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Time limit for the acknowledgement of sent bytes.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects to a host; every address of a name is tried.
pub(super) async fn dial(host: &PostgresHost) -> io::Result<Box<dyn ByteStream>> {
    match host {
        PostgresHost::Tcp(address) => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in lookup_host((address.host.as_str(), address.port)).await? {
                match limited(TcpStream::connect(address)).await.and_then(prepared) {
                    Ok(stream) => return Ok(Box::new(stream)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        PostgresHost::Socket { folder, port } => Ok(Box::new(limited(socket(folder, *port)).await?)),
    }
}

async fn socket(folder: &Path, port: u16) -> io::Result<UnixStream> {
    UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await
}

async fn limited<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || {
        let text = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(late()))
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    Ok(stream)
}
