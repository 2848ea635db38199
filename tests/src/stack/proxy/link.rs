//! One connection through the proxy, in both directions.
//!
//! It ends by a close, an error or a cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

use super::{Control, Weather};

/// Bytes carried at once. A delay applies to each piece, so the speed is this size per delay.
pub(super) const PIECE: usize = 16 * 1024;

/// The reason why a connection ended.
enum End {
    /// One of its peers closed it.
    Closed,
    /// The proxy cuts it.
    Cut,
}

/// Carries one accepted connection to its end.
pub(super) async fn carry(mut client: TcpStream, control: Arc<Control>) {
    let end = match TcpStream::connect(control.target).await {
        Ok(mut server) => {
            let end = both_ways(&mut client, &mut server, &control).await;
            if matches!(end, End::Cut) {
                // With zero linger, closing sends a reset instead of an orderly end.
                let _ = server.set_zero_linger();
            }
            end
        }
        // The target has no listener. The client sees a reset in place of a refused connection.
        Err(_) => End::Cut,
    };
    if matches!(end, End::Cut) {
        control.rules().resets += 1;
        let _ = client.set_zero_linger();
    }
}

async fn both_ways(client: &mut TcpStream, server: &mut TcpStream, control: &Control) -> End {
    // Small responses must not wait for more bytes.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let life = AtomicU64::new(control.life());
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = server.split();
    let carried = async {
        tokio::try_join!(
            pump(client_in, server_out, control, &life),
            pump(server_in, client_out, control, &life)
        )
    };
    let mut weather = control.weather.subscribe();
    tokio::select! {
        // A cut that is already set comes before any byte.
        biased;
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => End::Cut,
        carried = carried => carried.err().unwrap_or(End::Closed),
    }
}

/// Carries one direction until its source ends it.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    control: &Control,
    life: &AtomicU64,
) -> Result<(), End> {
    let mut piece = vec![0; PIECE];
    let mut weather = control.weather.subscribe();
    loop {
        let read = from.read(&mut piece).await.map_err(|_| End::Cut)?;
        let delay = control.rules().delay;
        sleep(delay).await;
        // An error means that the proxy is gone.
        weather.wait_for(|weather| *weather != Weather::Stalled).await.map_err(|_| End::Cut)?;
        if read == 0 {
            // The other direction may still have bytes.
            return to.shutdown().await.map_err(|_| End::Closed);
        }
        let mine = spend(life, read as u64);
        let admitted = control.admit(mine);
        let bytes = piece.get(..usize::try_from(admitted).unwrap_or(PIECE)).unwrap_or(&piece);
        to.write_all(bytes).await.map_err(|_| End::Cut)?;
        if admitted < mine {
            control.weather.send_replace(Weather::Cut);
        }
        if admitted < read as u64 {
            return Err(End::Cut);
        }
    }
}

/// Takes up to `bytes` from the connection's remaining bytes.
fn spend(life: &AtomicU64, bytes: u64) -> u64 {
    let before =
        life.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(bytes)));
    before.unwrap_or_default().min(bytes)
}
