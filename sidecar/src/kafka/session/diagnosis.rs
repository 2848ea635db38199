//! The reason why no broker answers, from connections of our own.
//!
//! librdkafka says "certificate verify failed" for a wrong name, an unknown CA and an expired
//! certificate alike. Our connections have the same trust and login, and separate them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig as TlsConfig;

use super::Brokers;
use crate::kafka::wire::{BrokerAddress, Connection, WireAccess};

/// For all connections together.
const DIAGNOSIS_LIMIT: Duration = Duration::from_secs(10);
/// Brokers that are tried. Beyond some, the fault is not that of one broker.
const MAX_BROKERS: usize = 3;

/// Returns the reason with the next step, of the first broker that fails. `said` is the library's
/// reason, for a fault that these connections don't have. Blocks.
pub(in crate::kafka) fn diagnose(
    brokers: &Brokers,
    tls: Option<Arc<TlsConfig>>,
    said: Option<String>,
) -> String {
    let access =
        WireAccess { login: brokers.access.login.as_ref(), tls: brokers.access.tls.as_ref().zip(tls) };
    let deadline = Instant::now() + DIAGNOSIS_LIMIT;
    let mut advertised = Vec::new();
    for broker in brokers.addresses.iter().take(MAX_BROKERS) {
        let asked = Connection::open(&broker.host, broker.port, &access);
        match asked.and_then(|mut connection| connection.brokers()) {
            Err(error) => return format!("{broker}: {error}"),
            Ok(known) => advertised.extend(known),
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    advertised.sort();
    advertised.dedup();
    for BrokerAddress { host, port } in advertised.into_iter().take(MAX_BROKERS) {
        if Instant::now() >= deadline {
            break;
        }
        if let Err(error) = Connection::open(&host, port, &access) {
            return format!(
                "the brokers advertise {host}:{port}, and there: {error}; see advertised.listeners"
            );
        }
    }
    let step = "check that one runs, that kafka.brokers is right, and the network to the brokers";
    said.map_or_else(|| step.to_owned(), |said| format!("{said}: {step}"))
}
