//! Handshakes with a server in memory: trust, names, client certificates.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use openssl::pkey::PKey;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::config::TlsIdentity;
use crate::secret::{Credential, SecretSource};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

fn leaf(issuer: &Issuer, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    (params.signed_by(&key, issuer).expect("a certificate"), key)
}

fn server(issuer: &Issuer, name: &str, demands_certificate: bool) -> ServerConfig {
    let (certificate, key) = leaf(issuer, name);
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).expect("a CA");
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = if demands_certificate {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        config.with_client_cert_verifier(verifier.build().expect("a verifier"))
    } else {
        config.with_no_client_auth()
    };
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    config.with_single_cert(vec![certificate.der().clone()], key.into()).expect("a server")
}

/// Runs both sides until a byte of the client has come back.
fn handshake(tls: &Tls, host: &str, server: &Arc<ServerConfig>) -> Result<(), String> {
    let config = client_config(tls).map_err(|error| error.to_string())?;
    let name = server_name(tls, host).map_err(|error| error.to_string())?;
    let mut client =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let mut server = ServerConnection::new(Arc::clone(server)).map_err(|error| error.to_string())?;
    client.writer().write_all(b"?").map_err(|error| error.to_string())?;
    let mut answer = [0];
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).map_err(|error| error.to_string())?;
        server.read_tls(&mut wire.as_slice()).map_err(|error| error.to_string())?;
        if let Err(error) = server.process_new_packets() {
            let _ = server.write_tls(&mut Vec::new());
            return Err(format!("server: {error}"));
        }
        if server.reader().read(&mut answer).is_ok_and(|read| read == 1) {
            return Ok(());
        }
        let mut wire = Vec::new();
        server.write_tls(&mut wire).map_err(|error| error.to_string())?;
        client.read_tls(&mut wire.as_slice()).map_err(|error| error.to_string())?;
        client.process_new_packets().map_err(|error| error.to_string())?;
    }
    Err("no end of the handshake".to_owned())
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn a_certificate_of_another_authority_or_name_is_refused_unless_the_config_says_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (issuer("own"), issuer("other"));
    let ca_file = Some(written(folder.path(), "ca.pem", &own.pem()));
    let (good, foreign) = (Arc::new(server(&own, "ch1", false)), Arc::new(server(&other, "ch1", false)));
    let tls = |verification| Tls { ca_file: ca_file.clone(), verification, ..Tls::default() };

    assert_eq!(handshake(&tls(Verification::Full), "ch1", &good), Ok(()));
    let wrong_name = handshake(&tls(Verification::Full), "ch2", &good).expect_err("another name");
    assert!(hint(&wrong_name).contains("server_name"), "{wrong_name}");
    let named = Tls { server_name: Some("ch1".to_owned()), ..tls(Verification::Full) };
    assert_eq!(handshake(&named, "ch2", &good), Ok(()));
    let unknown = handshake(&tls(Verification::Full), "ch1", &foreign).expect_err("another CA");
    assert!(hint(&unknown).contains("ca_file"), "{unknown}");

    assert_eq!(handshake(&tls(Verification::Authority), "ch2", &good), Ok(()));
    assert!(handshake(&tls(Verification::Authority), "ch1", &foreign).is_err());
    assert_eq!(handshake(&tls(Verification::None), "ch2", &foreign), Ok(()));
}

#[test]
fn a_client_certificate_is_shown_and_a_renewed_one_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, other) = (issuer("own"), issuer("other"));
    let strict = Arc::new(server(&authority, "ch1", true));
    let without = Tls { ca_file: Some(written(folder.path(), "ca.pem", &authority.pem())), ..Tls::default() };
    assert!(handshake(&without, "ch1", &strict).is_err(), "a certificate is demanded");

    let (foreign, foreign_key) = leaf(&other, "posthouse");
    let files = TlsIdentity {
        certificate_file: written(folder.path(), "client.pem", &foreign.pem()),
        key_file: written(folder.path(), "client.key", &foreign_key.serialize_pem()),
        key_password: None,
    };
    let tls = Tls { identity: Some(files.clone()), ..without };
    assert!(handshake(&tls, "ch1", &strict).is_err(), "another CA has signed it");

    let identity = ChangingIdentity::read(&files).expect("an identity");
    let before = identity.current();
    let (renewed, renewed_key) = leaf(&authority, "posthouse");
    written(folder.path(), "client.pem", &renewed.pem());
    assert_eq!(identity.current().cert, before.cert, "the key does not belong to the certificate yet");
    written(folder.path(), "client.key", &renewed_key.serialize_pem());
    assert_ne!(identity.current().cert, before.cert);
    assert_eq!(handshake(&tls, "ch1", &strict), Ok(()));
}

#[test]
fn an_encrypted_key_needs_its_passphrase() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = leaf(&issuer("own"), "posthouse");
    let plain = PKey::private_key_from_pem(key.serialize_pem().as_bytes()).expect("a key");
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let encrypted = [
        plain.private_key_to_pem_pkcs8_passphrase(cipher, b"phrase").expect("PKCS 8"),
        plain.ec_key().expect("a key").private_key_to_pem_passphrase(cipher, b"phrase").expect("SEC 1"),
    ];
    for pem in encrypted {
        let pem = String::from_utf8(pem).expect("text");
        let mut files = TlsIdentity {
            certificate_file: written(folder.path(), "client.pem", &certificate.pem()),
            key_file: written(folder.path(), "client.key", &pem),
            key_password: None,
        };
        assert!(matches!(ChangingIdentity::read(&files), Err(TlsError::NoPassphrase { .. })));
        for (phrase, is_right) in [("wrong", false), ("phrase", true)] {
            let source = SecretSource::File(written(folder.path(), "phrase", phrase));
            files.key_password = Some(Credential::read(source).expect("a passphrase"));
            assert_eq!(ChangingIdentity::read(&files).is_ok(), is_right, "{phrase}");
            assert_eq!(decrypted_key(&files).is_ok(), is_right, "{phrase}");
        }
    }
}

#[test]
fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path(), "ca.pem", "no certificate\n");
    let error = client_config(&Tls { ca_file: Some(path.clone()), ..Tls::default() }).expect_err("no CA");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    let missing = Tls { ca_file: Some(folder.path().join("missing.pem")), ..Tls::default() };
    assert!(matches!(client_config(&missing), Err(TlsError::Unreadable { .. })));
}
