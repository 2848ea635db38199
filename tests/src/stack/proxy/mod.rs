//! A TCP proxy that simulates a bad network.
//!
//! It delays, stalls and cuts connections, on command or at random.

mod link;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Listens on a free loopback port and carries every connection to its target. Dropping it ends all
/// of them.
///
/// All methods take effect at once, also on open connections, and may be called from any thread.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: Arc<Control>,
    // Some until dropped. The tasks of all connections run on it.
    runtime: Option<Runtime>,
}

/// The current state of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// All bytes pass.
    Fair,
    /// No byte passes, and connections stay open, as after a pulled cable.
    Stalled,
    /// Connections are reset, new ones too, as by a killed server.
    Cut,
}

/// Shared by the connections.
#[derive(Debug)]
struct Control {
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    rules: Mutex<Rules>,
}

#[derive(Debug)]
struct Rules {
    /// Before each piece of at most [`link::PIECE`] bytes, in each direction.
    delay: Duration,
    /// Bytes in both directions until the next cut.
    until_cut: Option<u64>,
    /// The range of bytes after which each new connection is reset.
    lives: Option<(StdRng, Range<u64>)>,
    carried: u64,
    connections: u64,
    resets: u64,
}

impl Proxy {
    /// Starts a proxy to `target`.
    ///
    /// # Errors
    /// If there is no port or thread for it.
    pub fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .context("no thread for a proxy")?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.context("no port on 127.0.0.1 for a proxy")?;
        let address = listener.local_addr()?;
        let rules = Rules {
            delay: Duration::ZERO,
            until_cut: None,
            lives: None,
            carried: 0,
            connections: 0,
            resets: 0,
        };
        let control =
            Control { target, weather: watch::Sender::new(Weather::Fair), rules: Mutex::new(rules) };
        let control = Arc::new(control);
        runtime.spawn(accept(listener, Arc::clone(&control)));
        Ok(Self { address, control, runtime: Some(runtime) })
    }

    /// The address of its listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection, and each new one, until [`Proxy::restore`].
    pub fn cut(&self) {
        self.control.rules().until_cut = None;
        self.control.weather.send_replace(Weather::Cut);
    }

    /// Like [`Proxy::cut`], after `bytes` more in both directions together. These bytes are
    /// delivered, the next one is not.
    pub fn cut_after(&self, bytes: u64) {
        self.control.rules().until_cut = Some(bytes);
    }

    /// Holds all bytes back until [`Proxy::restore`]. Connections stay open without any signal.
    pub fn stall(&self) {
        self.control.weather.send_replace(Weather::Stalled);
    }

    /// Ends a cut, a stall, a delay and random cuts, pending ones included.
    pub fn restore(&self) {
        let mut rules = self.control.rules();
        (rules.delay, rules.until_cut, rules.lives) = (Duration::ZERO, None, None);
        drop(rules);
        self.control.weather.send_replace(Weather::Fair);
    }

    /// Delays each piece of at most 16 KiB in each direction, which is a slow line of 16 KiB per
    /// `delay`.
    pub fn delay(&self, delay: Duration) {
        self.control.rules().delay = delay;
    }

    /// Resets each new connection after a random number of bytes in the range `bytes`, in both
    /// directions together. The same seed gives the same numbers, in the order of the connections.
    pub fn cut_each_after(&self, bytes: Range<u64>, seed: u64) {
        self.control.rules().lives = Some((StdRng::seed_from_u64(seed), bytes));
    }

    /// Bytes delivered so far, in both directions.
    pub fn carried(&self) -> u64 {
        self.control.rules().carried
    }

    /// Connections accepted so far, including immediately reset ones.
    pub fn connections(&self) -> u64 {
        self.control.rules().connections
    }

    /// Connections reset so far, including new ones during a cut.
    pub fn resets(&self) -> u64 {
        self.control.rules().resets
    }

    /// Whether connections are cut at the moment.
    pub fn is_cut(&self) -> bool {
        *self.control.weather.borrow() == Weather::Cut
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Control {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of bytes that a new connection may carry.
    fn life(&self) -> u64 {
        match &mut self.rules().lives {
            Some((random, range)) if !range.is_empty() => random.random_range(range.clone()),
            _ => u64::MAX,
        }
    }

    /// Returns how many of `bytes` may pass now. Fewer than requested means that a cut is due
    /// behind them.
    fn admit(&self, bytes: u64) -> u64 {
        let mut rules = self.rules();
        let admitted = bytes.min(rules.until_cut.unwrap_or(u64::MAX));
        rules.carried += admitted;
        if let Some(left) = &mut rules.until_cut {
            *left -= admitted;
        }
        admitted
    }
}

async fn accept(listener: TcpListener, control: Arc<Control>) {
    loop {
        // The error concerns one connection, or a process without file descriptors. Other
        // connections follow.
        match listener.accept().await {
            Ok((client, _)) => {
                control.rules().connections += 1;
                tokio::spawn(link::carry(client, Arc::clone(&control)));
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[cfg(test)]
mod tests;
