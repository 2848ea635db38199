//! The encrypted ports of a ClickHouse server, which the engine of the library does not have.

use std::path::Path;

use anyhow::Context;
use posthouse_tests::daemon::free_address;
use posthouse_tests::site::Site;
use posthouse_tests::stack::{CertificateAuthority, NodeOptions, Progress, Stack, StackSpec};
use toml::{Table, Value};

use crate::events::event;
use crate::produce::{consumed, produce};

tests! {
    Server logs_in_by_certificate_and_writes_through_encrypted_remote_servers,
}

/// The user whose certificate is its login.
const USER: &str = "certified";

/// The port of a free address.
fn port() -> anyhow::Result<String> {
    Ok(free_address()?.rsplit_once(':').context("host:port")?.1.to_owned())
}

/// Encrypted ports of a node, with its certificates in `folder`.
fn ports(folder: &Path, https: &str, tcp: &str) -> String {
    let folder = folder.display();
    format!(
        "<https_port>{https}</https_port><tcp_port_secure>{tcp}</tcp_port_secure><openSSL>\
         <server><certificateFile>{folder}/node.crt</certificateFile><privateKeyFile>{folder}/node.key</privateKeyFile>\
         <caConfig>{folder}/ca.pem</caConfig><verificationMode>relaxed</verificationMode></server>\
         <client><caConfig>{folder}/ca.pem</caConfig><loadDefaultCAFile>false</loadDefaultCAFile>\
         <verificationMode>strict</verificationMode></client></openSSL>"
    )
}

fn logs_in_by_certificate_and_writes_through_encrypted_remote_servers() -> anyhow::Result<()> {
    // GIVEN encrypted ports of a node, a cluster over them, and a user with a certificate
    let (folder, authority) = (tempfile::tempdir()?, CertificateAuthority::new("servers")?);
    authority.issue("localhost")?.write(folder.path(), "node")?;
    let (certificate, key) = authority.issue(USER)?.write(folder.path(), "client")?;
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let (https, tcp) = (port()?, port()?);
    let cluster = format!(
        "<secured><shard><weight>1</weight><replica><host>localhost</host><port>{tcp}</port><secure>1</secure></replica>\
         </shard></secured>"
    );
    let user = format!(
        "<{USER}><ssl_certificates><common_name>{USER}</common_name></ssl_certificates><profile>default</profile>\
         <quota>default</quota></{USER}>"
    );
    let nodes = NodeOptions::default().xml(&ports(folder.path(), &https, &tcp));
    let nodes = nodes.remote_servers_xml(&cluster).users_xml(&user);
    let stack = Stack::start(StackSpec::sharded(&[1]).nodes(nodes), &Progress::Silent)?;
    let mut site = Site::new(&stack, "encrypted_server")?;
    let mut tls = Table::new();
    for (key, path) in [("ca_file", &ca), ("certificate_file", &certificate), ("key_file", &key)] {
        tls.insert(key.to_owned(), path.display().to_string().into());
    }
    site.set("clickhouse", "tls", tls).set("clickhouse", "certificate_login", true);
    site.set("clickhouse", "user", USER);
    site.config_mut().insert("cluster".to_owned(), "secured".into());
    let shards = site.config_mut().get_mut("shards").and_then(Value::as_array_mut).context("shards")?;
    let replica = shards[0]["replicas"][0].as_table_mut().context("a replica")?;
    replica.insert("url".to_owned(), format!("https://localhost:{https}").into());
    replica.insert("address".to_owned(), format!("localhost:{tcp}").into());
    // WHEN the schema is applied and events are produced THEN they arrive through writable_events
    site.apply()?;
    let events: Vec<String> =
        (0..20).map(|number| serde_json::Value::Object(event(number)).to_string()).collect();
    produce(&site, &events.iter().map(|event| Some(event.as_bytes())).collect::<Vec<_>>())?;
    consumed(&site)?;
    site.must(&["schema", "check"])?;
    site.answers("SELECT uniqExact(uuid) FROM {db}.events", "20", crate::produce::LIMIT)
}
