//! Encrypted connections to nodes: the whole journey, refusals, and rotated passwords.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::events::Generator;
use posthouse_tests::people::Rules;
use posthouse_tests::site::{Outcome, Site, binary, run};
use posthouse_tests::stack::{CertificateAuthority, NodeOptions, Progress, Stack, StackSpec, TlsTerminator};
use toml::{Table, Value};

use crate::backfill::{ROWS, STORED, history, loaded};
use crate::events::PROFILE;
use crate::persons_audit::PEOPLE;
use crate::persons_source::{LIMIT, person_database, same};
use crate::produce::{consumed, produce};
use crate::schema::json;
use crate::seed;

tests! {
    Single the_whole_journey_passes_through_tls_with_client_certificates,
    Shared refuses_a_connection_that_cannot_be_trusted_and_recovers,
    Shared names_files_that_tls_cannot_use,
    Own imports_the_config_of_an_encrypted_cluster,
    Own reads_a_rotated_password_again_without_a_restart,
}

/// Terminators before the nodes of a site, which demand client certificates.
struct Encrypted {
    authority: CertificateAuthority,
    terminators: Vec<TlsTerminator>,
    /// Files of posthouse: CA, certificate and key.
    ca_file: PathBuf,
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl Encrypted {
    /// Changes the site's config so that every URL is encrypted.
    fn on(site: &mut Site<'_>) -> anyhow::Result<Self> {
        let authority = CertificateAuthority::new("posthouse tests")?;
        let server = authority.issue("127.0.0.1")?;
        let (certificate_file, key_file) = authority.issue("posthouse")?.write(site.folder(), "client")?;
        let ca_file = site.folder().join("ca.pem");
        std::fs::write(&ca_file, authority.pem())?;
        let terminators = site.stack.nodes().iter().map(|node| {
            let target: SocketAddr = node.http_url().trim_start_matches("http://").parse()?;
            TlsTerminator::start(target, &server, Some(&authority))
        });
        let terminators = terminators.collect::<anyhow::Result<Vec<_>>>()?;
        let mut urls = terminators.iter().map(TlsTerminator::url);
        let shards = site.config_mut().get_mut("shards").and_then(Value::as_array_mut).context("shards")?;
        for shard in shards {
            let replicas = shard.get_mut("replicas").and_then(Value::as_array_mut).context("replicas")?;
            for replica in replicas {
                let url = urls.next().context("a terminator for each node")?;
                replica.as_table_mut().context("a replica")?.insert("url".to_owned(), url.into());
            }
        }
        let encrypted = Self { authority, terminators, ca_file, certificate_file, key_file };
        site.set("clickhouse", "tls", encrypted.table());
        Ok(encrypted)
    }

    /// `[clickhouse.tls]` that is right.
    fn table(&self) -> Table {
        let mut table = Table::new();
        for (key, path) in [
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
        ] {
            table.insert(key.to_owned(), path.display().to_string().into());
        }
        table
    }

    /// `[clickhouse.tls]` without some keys and with another one.
    fn other_table(&self, without: &[&str], with: Option<(&str, &str)>) -> Table {
        let mut table = self.table();
        without.iter().for_each(|key| _ = table.remove(*key));
        if let Some((key, value)) = with {
            table.insert(key.to_owned(), value.into());
        }
        table
    }
}

/// The outcome fails with `code`, names `text`, and is no panic.
fn fails(outcome: &Outcome, code: i32, text: &str) -> anyhow::Result<()> {
    ensure!(outcome.code == code && outcome.stderr.contains(text), "{text:?} expected: {outcome}");
    ensure!(!outcome.stderr.contains("panicked"), "{outcome}");
    Ok(())
}

fn the_whole_journey_passes_through_tls_with_client_certificates(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes that accept encrypted connections with certificates only
    let _encrypted = Encrypted::on(site)?;
    // WHEN topics and schema are applied and persons are copied THEN every node matches PostgreSQL
    let person_db = person_database(site, Rules::default())?;
    let daemon = Daemon::start(site, "off")?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    same(site, &person_db, &daemon)?;
    site.must(&["schema", "check"])?;
    // WHEN events are produced THEN all are stored
    let messages: Vec<_> = Generator::new(PROFILE, seed(site.name())?).take(1_000).collect();
    let values: Vec<_> = messages.iter().map(|message| Some(message.payload.as_slice())).collect();
    produce(site, &values)?;
    consumed(site)?;
    site.answers("SELECT uniqExact(uuid) FROM {db}.events", "1000", LIMIT)?;
    // WHEN a history is loaded by either route THEN every row is stored once and proven
    for route in ["direct", "distributed"] {
        let (folder, _) = history(&format!("{}_{route}", site.name()), ROWS)?;
        let done = loaded(site, &folder, &["--route", route])?;
        ensure!(done["stored"] == ROWS && done["proof"]["found"] == ROWS, "{done:#}");
    }
    let all = 2 * ROWS + 1_000;
    ensure!(site.query(STORED)? == format!("{all}\t{all}\t0"), "{}", site.query(STORED)?);
    // WHEN functions are installed THEN their check succeeds
    site.must(&["udf", "install"])?;
    site.must(&["udf", "check"])?;
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

fn refuses_a_connection_that_cannot_be_trusted_and_recovers(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.must(&["topics", "apply"])?;
    let encrypted = Encrypted::on(site)?;
    let other = CertificateAuthority::new("other")?;
    let plan = |site: &mut Site<'_>, table: Table| {
        site.set("clickhouse", "tls", table);
        site.posthouse(&["schema", "plan"])
    };
    // WHEN the nodes' certificates have expired, have another name, or come from another CA THEN
    // each is named with its next step
    for (pair, hint) in [
        (encrypted.authority.issue_expired("127.0.0.1")?, "has expired; renew it"),
        (encrypted.authority.issue("ch1.example")?, "set server_name"),
        (other.issue("127.0.0.1")?, "set ca_file to the CA"),
    ] {
        for terminator in &encrypted.terminators {
            terminator.show(&pair, Some(&encrypted.authority))?;
        }
        let outcome = plan(site, encrypted.table())?;
        fails(&outcome, 1, hint)?;
        fails(&outcome, 1, &encrypted.terminators[0].url())?;
    }
    // WHEN the name is in the config THEN it is accepted
    let named = encrypted.authority.issue("ch1.example")?;
    for terminator in &encrypted.terminators {
        terminator.show(&named, Some(&encrypted.authority))?;
    }
    let outcome = plan(site, encrypted.other_table(&[], Some(("server_name", "ch1.example"))))?;
    ensure!(outcome.code == 3, "{outcome}");
    // WHEN posthouse shows no certificate THEN it says that one is demanded
    let without = ["certificate_file", "key_file"];
    let outcome = plan(site, encrypted.other_table(&without, Some(("server_name", "ch1.example"))))?;
    fails(&outcome, 1, "set certificate_file and key_file")?;
    // WHEN checks are off THEN it works and warns
    let outcome = plan(site, encrypted.other_table(&["ca_file"], Some(("insecure_skip_verify", "yes"))))?;
    fails(&outcome, 2, "insecure_skip_verify")?;
    let mut table = encrypted.other_table(&["ca_file"], None);
    table.insert("insecure_skip_verify".to_owned(), true.into());
    let outcome = plan(site, table)?;
    ensure!(outcome.code == 3 && outcome.stderr.contains("is not checked"), "{outcome}");
    // WHEN a terminator gets a right certificate again THEN the same config works
    let right = encrypted.authority.issue("127.0.0.1")?;
    for terminator in &encrypted.terminators {
        terminator.show(&right, Some(&encrypted.authority))?;
    }
    let outcome = plan(site, encrypted.table())?;
    ensure!(outcome.code == 3, "{outcome}");
    // WHEN an https URL leads to a plain port THEN it is named
    let plain = site.stack.nodes()[0].http_url().replace("http:", "https:");
    let shards = site.config_mut().get_mut("shards").context("shards")?;
    shards[0]["replicas"][0]["url"] = plain.into();
    fails(&plan(site, encrypted.table())?, 1, "does not speak TLS")
}

/// Runs posthouse on a machine without CA certificates.
fn without_authorities(site: &Site<'_>, arguments: &[&str]) -> anyhow::Result<Outcome> {
    let config = site.write_config()?;
    let mut command = Command::new(binary("posthouse")?);
    command.arg("--config").arg(config).args(arguments).stdin(Stdio::null());
    command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", site.folder().join("empty"));
    let output = command.output()?;
    Ok(Outcome {
        command: arguments.join(" "),
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn names_files_that_tls_cannot_use(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.must(&["topics", "apply"])?;
    let encrypted = Encrypted::on(site)?;
    std::fs::create_dir(site.folder().join("empty"))?;
    // WHEN the machine has no CA certificates THEN only a config without ca_file fails
    let outcome = without_authorities(site, &["schema", "plan"])?;
    ensure!(outcome.code == 3, "{outcome}");
    site.set("clickhouse", "tls", encrypted.other_table(&["ca_file"], None));
    fails(&without_authorities(site, &["schema", "plan"])?, 2, "this machine has no CA certificates")?;
    // WHEN a file is missing or no certificate THEN it is named, and the exit code is that of a
    // wrong config
    for (key, value, text) in [
        ("ca_file", "/nowhere/ca.pem", "can't read /nowhere/ca.pem"),
        ("ca_file", "topics.toml", "topics.toml has no certificate in PEM form"),
        ("key_file", "ca.pem", "ca.pem has no private key in PEM form"),
        ("server_name", "no name", "server_name"),
    ] {
        site.set("clickhouse", "tls", encrypted.other_table(&[], Some((key, value))));
        let outcome = site.posthouse(&["schema", "plan"])?;
        fails(&outcome, 2, text)?;
        fails(&outcome, 2, "clickhouse.tls")?;
    }
    Ok(())
}

fn imports_the_config_of_an_encrypted_cluster() -> anyhow::Result<()> {
    // GIVEN a schema on a node behind a terminator
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::Lines)?;
    let mut site = Site::new(&stack, "secure_import")?;
    site.apply()?;
    let encrypted = Encrypted::on(&mut site)?;
    let paths = [&encrypted.ca_file, &encrypted.certificate_file, &encrypted.key_file];
    let [ca_file, certificate_file, key_file] = paths.map(|path| path.display().to_string());
    let url = encrypted.terminators[0].url();
    let config = Path::new("/nowhere");
    // WHEN the config is imported through it
    let arguments = ["schema", "import", "--url", &url, "--database", "secure_import"];
    let files = ["--ca-file", &ca_file, "--certificate-file", &certificate_file, "--key-file", &key_file];
    let outcome = run(config, &[&arguments[..], &files].concat())?;
    // THEN it has the files and the encrypted URL
    ensure!(outcome.code == 0, "{outcome}");
    for text in [&ca_file, &certificate_file, &key_file, &url] {
        ensure!(outcome.stdout.contains(text), "{text}: {outcome}");
    }
    // WHEN the CA is missing THEN the handshake is refused
    fails(&run(config, &arguments)?, 1, "set ca_file")?;
    Ok(())
}

/// A user whose password is `PASSWORD`.
const ROTATED: &str = "<rotated><password>PASSWORD</password><networks><ip>127.0.0.1</ip></networks>\
    <profile>default</profile><quota>default</quota><access_management>1</access_management></rotated>";

fn reads_a_rotated_password_again_without_a_restart() -> anyhow::Result<()> {
    // GIVEN a node with a user, and a running posthouse that reads the password from a file
    let nodes = NodeOptions::default().users_xml(&ROTATED.replace("PASSWORD", "old-password"));
    let stack = Stack::start(StackSpec::sharded(&[1]).nodes(nodes), &Progress::Lines)?;
    let mut site = Site::new(&stack, "secure_rotation")?;
    let password = site.folder().join("password");
    std::fs::write(&password, "old-password\n")?;
    site.set("clickhouse", "user", "rotated").set("clickhouse", "password_file", "password");
    site.apply()?;
    let daemon = Daemon::start(&mut site, "check")?;
    daemon.is_ready()?;
    // WHEN the node gets another password THEN posthouse is refused
    let node = &stack.nodes()[0];
    let users = node.dir().join("users.xml");
    let text = std::fs::read_to_string(&users)?;
    node.stop();
    std::fs::write(&users, text.replace("old-password", "new-password"))?;
    node.start()?;
    fails(&site.posthouse(&["schema", "plan"])?, 1, "check clickhouse.user")?;
    // WHEN the file has the new password THEN it goes on, without a restart and without showing it
    std::fs::write(&password, "new-password\n")?;
    daemon.says("read a new secret")?;
    daemon.is_ready()?;
    ensure!(!daemon.log()?.contains("-password\""), "{}", daemon.log()?);
    // WHEN a load runs with it THEN it is stored
    let (folder, _) = history("secure_rotation", 1_000)?;
    let done = loaded(&site, &folder, &[])?;
    ensure!(done["stored"] == 1_000, "{done:#}");
    let jobs = json(&site.must(&["backfill", "list", "--json"])?)?;
    ensure!(jobs[0]["stored"] == 1_000, "{jobs:#}");
    Ok(())
}
