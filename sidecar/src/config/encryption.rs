//! Rules across the URLs of nodes, their encryption and the login.

use url::{Host, Url};

use super::reader::ConfigTable;
use super::{Config, Tls};

impl Config {
    /// Whether a node has an `https` URL.
    pub(crate) fn uses_https(&self) -> bool {
        self.urls().any(|url| url.scheme() == "https")
    }

    fn urls(&self) -> impl Iterator<Item = &Url> {
        let replicas = self.shards.iter().flat_map(|shard| &shard.replicas).map(|replica| &replica.url);
        replicas.chain(self.ingest_nodes.iter().map(|node| &node.url))
    }
}

/// Whether the host of a URL is this machine.
pub(crate) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Checks `[clickhouse]` against the URLs.
pub(super) fn check(top: &ConfigTable<'_>, config: &Config) {
    let access = &config.clickhouse;
    if access.tls != Tls::default() && !config.uses_https() {
        top.warn("clickhouse", "tls has no effect, because no URL of a node begins with https");
    }
    let plain = config.urls().find(|url| url.scheme() == "http" && !is_local(url));
    if let (Some(url), Some(_)) = (plain, &access.password) {
        let problem = format!(
            "the password goes over the network in the clear to {url}: give https URLs and [clickhouse.tls]"
        );
        top.warn("clickhouse", problem);
    }
    if access.certificate_login {
        check_certificate_login(top, config);
    }
}

fn check_certificate_login(top: &ConfigTable<'_>, config: &Config) {
    let fault = |problem: &str| top.fault("clickhouse", format!("certificate_login {problem}"));
    if config.clickhouse.tls.identity.is_none() {
        fault("needs a certificate: give certificate_file and key_file in [clickhouse.tls]");
    }
    if config.clickhouse.password.is_some() {
        fault("replaces the password: remove password_file and POSTHOUSE_CLICKHOUSE_PASSWORD");
    }
    if let Some(url) = config.urls().find(|url| url.scheme() == "http") {
        fault(&format!("needs https: change {url}"));
    }
}
