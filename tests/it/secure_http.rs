//! Protection of posthouse's own HTTP interface.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_tests::daemon::{Daemon, free_address};
use posthouse_tests::site::run;
use posthouse_tests::stack::{CertificateAuthority, PemPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

tests! {
    Free an_address_that_others_reach_needs_a_proof_of_clients,
    Free a_token_is_demanded_except_where_a_key_opens,
    Free a_client_certificate_is_demanded_over_tls,
    Free unfinished_handshakes_do_not_keep_clients_out,
}

const LIMIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef0123";

/// A config without servers.
struct Lonely {
    folder: TempDir,
    address: String,
}

impl Lonely {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("topics.toml"), "")?;
        Ok(Self { folder, address: free_address()? })
    }

    /// Writes the config with these keys of `[daemon]`.
    fn config(&self, daemon: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join("posthouse.toml");
        let text = format!(
            "[[shards]]\n[[shards.replicas]]\nname = \"ch1\"\nurl = \"http://127.0.0.1:1\"\naddress = \"127.0.0.1:1\"\n\
             [kafka]\nbrokers = [\"127.0.0.1:1\"]\n[topics]\nreconcile = \"off\"\n[daemon]\n{daemon}\n"
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    fn listening(&self, keys: &str) -> anyhow::Result<PathBuf> {
        self.config(&format!("listen = \"{}\"\n{keys}", self.address))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The status of a GET with these header lines, over a stream that ends with the answer.
fn status(mut stream: impl Read + Write, path: &str, headers: &str) -> anyhow::Result<u16> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")?;
    let mut answer = Vec::new();
    // A peer that closes without a TLS end is an error after the answer.
    let read = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.with_context(|| format!("{read:?} {text}"))
}

fn plain(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn encrypted(
    address: &str,
    authority: &CertificateAuthority,
    client: Option<&PemPair>,
) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(pair) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
        )?,
    };
    let address: SocketAddr = address.parse()?;
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(Arc::new(config), name)?;
    Ok(StreamOwned::new(connection, plain(&address.to_string())?))
}

fn an_address_that_others_reach_needs_a_proof_of_clients() -> anyhow::Result<()> {
    let lonely = Lonely::new()?;
    fs::write(lonely.path().join("token"), TOKEN)?;
    fs::write(lonely.path().join("short"), "short")?;
    let port = lonely.address.rsplit_once(':').context("a port")?.1;
    let open = format!("listen = \"0.0.0.0:{port}\"");
    // WHEN the address is not loopback and clients need no proof THEN the config is wrong, and the
    // next steps are named
    for (keys, text) in [
        (open.clone(), "daemon.token_file"),
        (format!("{open}\nmetrics_open = true\nhealth_open = true"), "daemon.token_file"),
        (format!("{open}\ntls.certificate_file = \"a\"\ntls.key_file = \"b\""), "client_ca_file"),
        (format!("{open}\ntoken_file = \"short\""), "less than 16 bytes"),
        (
            format!("{open}\ntls.certificate_file = \"a\"\ntls.key_file = \"b\"\ntoken_file = \"token\""),
            "daemon.tls",
        ),
    ] {
        let outcome = run(&lonely.config(&keys)?, &["run"])?;
        ensure!(outcome.code == 2 && outcome.stderr.contains(text), "{keys}: {outcome}");
    }
    // WHEN a watch is to listen at one THEN it is refused too
    let config = lonely.listening("")?;
    let folder = lonely.path().display().to_string();
    let listen = format!("0.0.0.0:{port}");
    let mapping = ["--mapping", "posthog-export", "--team-id", "7"];
    let outcome =
        run(&config, &[&["backfill", "watch", &folder, "--listen", &listen][..], &mapping].concat())?;
    ensure!(outcome.code == 2 && outcome.stderr.contains("daemon.token_file"), "{outcome}");
    Ok(())
}

fn a_token_is_demanded_except_where_a_key_opens() -> anyhow::Result<()> {
    // GIVEN a posthouse at all addresses, with a token and open health
    let lonely = Lonely::new()?;
    fs::write(lonely.path().join("token"), TOKEN)?;
    let port = lonely.address.rsplit_once(':').context("a port")?.1;
    let keys = format!("listen = \"0.0.0.0:{port}\"\ntoken_file = \"token\"\nhealth_open = true");
    let daemon = Daemon::with(&lonely.config(&keys)?, lonely.address.clone())?;
    daemon.says("the token in the clear")?;
    let get = |path: &str, headers: &str| status(plain(&lonely.address)?, path, headers);
    // THEN health is open, and the rest needs the token
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (path, without) in [("/live", 200), ("/ready", 200), ("/health", 401), ("/metrics", 401), ("/x", 401)]
    {
        ensure!(get(path, "")? == without, "{path}");
        ensure!(get(path, "Authorization: Bearer wrong\r\n")? == without, "{path}");
        let with = if path == "/x" { 404 } else { 200 };
        ensure!(get(path, &right)? == with, "{path}");
    }
    ensure!(!daemon.log()?.contains(TOKEN), "{}", daemon.log()?);
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

/// Writes the files of `[daemon.tls]`, and returns its keys.
fn tls_keys(lonely: &Lonely, authority: &CertificateAuthority) -> anyhow::Result<String> {
    authority.issue("127.0.0.1")?.write(lonely.path(), "server")?;
    fs::write(lonely.path().join("ca.pem"), authority.pem())?;
    Ok("tls.certificate_file = \"server.crt\"\ntls.key_file = \"server.key\"\ntls.client_ca_file = \"ca.pem\"\n\
        health_open = true\n"
        .to_owned())
}

/// Starts a posthouse that answers over TLS. [`Daemon`] itself asks without TLS.
fn start(lonely: &Lonely, keys: &str) -> anyhow::Result<std::process::Child> {
    posthouse_tests::site::spawn(&lonely.listening(keys)?, &["run"], std::process::Stdio::null())
}

/// Waits until the interface accepts connections.
fn wait(lonely: &Lonely) -> anyhow::Result<()> {
    use std::ops::ControlFlow;

    posthouse_tests::stack::wait_until("posthouse to listen", LIMIT, || match plain(&lonely.address) {
        Ok(_) => ControlFlow::Break(Ok(())),
        Err(error) => ControlFlow::Continue(error),
    })
}

fn a_client_certificate_is_demanded_over_tls() -> anyhow::Result<()> {
    // GIVEN a posthouse with TLS and an authority of clients
    let (lonely, authority) = (Lonely::new()?, CertificateAuthority::new("own")?);
    let other = CertificateAuthority::new("other")?;
    let keys = tls_keys(&lonely, &authority)?;
    let mut child = start(&lonely, &keys)?;
    let checked = wait(&lonely).and_then(|()| {
        let (right, wrong) = (authority.issue("prometheus")?, other.issue("prometheus")?);
        let get = |path: &str, client: Option<&PemPair>| {
            status(encrypted(&lonely.address, &authority, client)?, path, "")
        };
        // THEN a certificate of that authority opens all, and health is open to others
        ensure!(get("/metrics", Some(&right))? == 200 && get("/health", Some(&right))? == 200, "with it");
        ensure!(get("/metrics", None)? == 401 && get("/live", None)? == 200, "without one");
        ensure!(get("/metrics", Some(&wrong)).is_err(), "with one of another authority");
        ensure!(status(plain(&lonely.address)?, "/live", "").is_err(), "without TLS");
        Ok(())
    });
    child.kill()?;
    child.wait()?;
    checked
}

fn unfinished_handshakes_do_not_keep_clients_out() -> anyhow::Result<()> {
    // GIVEN a posthouse with TLS, and many clients that never finish a handshake
    let (lonely, authority) = (Lonely::new()?, CertificateAuthority::new("own")?);
    let mut child = start(&lonely, &tls_keys(&lonely, &authority)?)?;
    let checked = wait(&lonely).and_then(|()| {
        let mut idle = Vec::new();
        for number in 0..300 {
            let mut stream = plain(&lonely.address)?;
            if number % 2 == 0 {
                // The begin of a ClientHello.
                stream.write_all(b"\x16\x03\x01\x02\x00")?;
            }
            idle.push(stream);
        }
        // THEN a client is answered
        let got = status(encrypted(&lonely.address, &authority, None)?, "/live", "")?;
        ensure!(got == 200, "{got}");
        // AND each of the others is closed in the end
        for stream in &mut idle {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
        Ok(())
    });
    child.kill()?;
    child.wait()?;
    checked
}
