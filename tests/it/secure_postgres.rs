//! Person sync over encrypted connections and with every kind of login, on a real PostgreSQL.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use posthouse_tests::daemon::{Daemon, free_address};
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{
    CertificateAuthority, PASSWORD, PemPair, Postgres, Progress, Stack, StackSpec, USER, wait_until,
};
use toml::Value;

use crate::persons_dba::PEOPLE;
use crate::persons_source::{LIMIT, person_database, same};

tests! {
    Own follows_persons_over_tls_and_through_every_change_of_a_secret,
    Own means_what_libpq_means_by_each_sslmode_and_login,
}

/// Logins of the role by password, encrypted only.
const TLS_ONLY: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n";

/// Certificate and key of a name until a year.
fn leaf(authority: &CertificateAuthority, name: &str, year: i32) -> anyhow::Result<PemPair> {
    authority.issue_until(name, &[name], year)
}

/// CAs, and a folder for the files that posthouse reads.
struct Certificates {
    own: CertificateAuthority,
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { own: CertificateAuthority::new("own")?, folder: tempfile::tempdir()? })
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(path.display().to_string())
    }

    /// Gives the server a certificate, and turns TLS on.
    fn serve(&self, postgres: &Postgres, hba: &str, pair: &PemPair) -> anyhow::Result<()> {
        postgres.write_file("server.crt", &pair.certificate)?;
        postgres.write_file("server.key", &pair.key)?;
        postgres.write_file("root.crt", &self.own.pem())?;
        let settings = [
            ("ssl", "on"),
            ("ssl_ca_file", "root.crt"),
            ("ssl_cert_file", "server.crt"),
            ("ssl_key_file", "server.key"),
        ];
        postgres.configure(hba, &settings)
    }
}

fn set(site: &mut Site<'_>, person_db: &PersonDatabase<'_>, keys: &[(&str, &str)]) -> anyhow::Result<()> {
    keys.iter().try_for_each(|(key, value)| person_db.set(site, key, *value))
}

/// Counts the role's sessions that are encrypted, or not.
fn sessions(postgres: &Postgres, encrypted: bool, walsenders: bool) -> anyhow::Result<i64> {
    let kind = if walsenders { "=" } else { "<>" };
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
         WHERE usename = '{USER}' AND ssl = $1 AND backend_type {kind} 'walsender'"
    );
    Ok(postgres.admin("postgres")?.query_one(&query, &[&encrypted])?.get(0))
}

fn follows_persons_over_tls_and_through_every_change_of_a_secret() -> anyhow::Result<()> {
    // GIVEN a PostgreSQL that takes encrypted logins only
    let stack = Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::Silent)?;
    let (postgres, certificates) = (stack.postgres()?, Certificates::new()?);
    certificates.serve(postgres, TLS_ONLY, &leaf(&certificates.own, "localhost", 2096)?)?;
    let mut site = Site::new(&stack, "secured")?;
    let person_db = person_database(&mut site, Rules::default())?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    let (ca, password) =
        (certificates.write("ca.pem", &certificates.own.pem())?, certificates.write("password", PASSWORD)?);
    let address = format!("localhost:{}", postgres.port());
    set(
        &mut site,
        &person_db,
        &[
            ("address", &address),
            ("sslmode", "verify-full"),
            ("sslrootcert", &ca),
            ("channel_binding", "require"),
            ("password_file", &password),
        ],
    )?;
    // WHEN posthouse copies, follows and audits THEN every session of it is encrypted
    let daemon = Daemon::start(&mut site, "off")?;
    same(&site, &person_db, &daemon)?;
    person_db.admin()?.batch_execute("UPDATE posthog_person SET properties = '{\"a\": 1}' WHERE id < 50")?;
    same(&site, &person_db, &daemon)?;
    ensure!(sessions(postgres, true, true)? == 1, "no encrypted stream");
    ensure!(sessions(postgres, true, false)? > 0, "no encrypted session");
    ensure!(sessions(postgres, false, true)? + sessions(postgres, false, false)? == 0, "open sessions");
    stays_small(&site, &person_db, &daemon)?;
    rotate(&site, &person_db, &daemon, &password)?;
    revoke(&site, &person_db, &daemon)?;
    // WHEN the server's certificate is replaced by one of another CA THEN it is refused and named
    let other = CertificateAuthority::new("other")?;
    certificates.serve(postgres, TLS_ONLY, &leaf(&other, "localhost", 2096)?)?;
    end_sessions(postgres)?;
    daemon.says("set sslrootcert to the CA that signed the server's certificate")?;
    // WHEN it is one of the own CA again THEN posthouse follows without a restart
    certificates.serve(postgres, TLS_ONLY, &leaf(&certificates.own, "localhost", 2096)?)?;
    person_db.admin()?.batch_execute("UPDATE posthog_person SET properties = '{\"c\": 1}' WHERE id < 20")?;
    same(&site, &person_db, &daemon)?;
    ensure!(daemon.log()?.matches("taking the initial snapshot").count() == 1, "another snapshot");
    ensure!(!daemon.log()?.contains(PASSWORD), "the log has the password");
    ensure!(daemon.end()? == 0, "another exit code");
    Ok(())
}

/// Follows many large rows of one transaction, of which only some fit into memory at once.
fn stays_small(site: &Site<'_>, person_db: &PersonDatabase<'_>, daemon: &Daemon) -> anyhow::Result<()> {
    /// 16 rows of 12 MB are 192 MB.
    const LARGE: &str = "UPDATE posthog_person SET properties = jsonb_build_object('x', repeat('x', 12000000)) WHERE id <= 16";
    const SMALL: &str = "UPDATE posthog_person SET properties = '{}' WHERE id <= 16";
    const MEMORY_LIMIT_KIB: u64 = 400 << 10;

    let mut client = person_db.admin()?;
    client.batch_execute(LARGE)?;
    client.batch_execute(SMALL)?;
    same(site, person_db, daemon)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: u64 = peak.context("no peak")?.parse()?;
    eprintln!("secure_postgres: 16 rows of 12 MB: {} MiB at most", peak >> 10);
    ensure!(peak < MEMORY_LIMIT_KIB, "{peak} KiB");
    Ok(())
}

fn end_sessions(postgres: &Postgres) -> anyhow::Result<()> {
    let ends = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'");
    postgres.admin("postgres")?.query(&ends, &[])?;
    Ok(())
}

/// Changes the password while posthouse runs.
fn rotate(
    site: &Site<'_>,
    person_db: &PersonDatabase<'_>,
    daemon: &Daemon,
    file: &str,
) -> anyhow::Result<()> {
    let postgres = person_db.postgres();
    // WHEN the role gets another password, and its sessions end
    postgres.admin("postgres")?.batch_execute(&format!("ALTER ROLE {USER} PASSWORD 'an0ther'"))?;
    end_sessions(postgres)?;
    // THEN the refused login is named
    daemon.says("password authentication failed")?;
    // WHEN the file has it too THEN posthouse reads it, and goes on
    std::fs::write(file, "an0ther")?;
    daemon.says("read a new secret")?;
    person_db.admin()?.batch_execute("UPDATE posthog_person SET properties = '{\"b\": 1}' WHERE id < 20")?;
    same(site, person_db, daemon)?;
    ensure!(!daemon.log()?.contains("an0ther"), "the log has the password");
    Ok(())
}

/// Takes the role's login away, and gives it back.
fn revoke(site: &Site<'_>, person_db: &PersonDatabase<'_>, daemon: &Daemon) -> anyhow::Result<()> {
    let postgres = person_db.postgres();
    postgres.admin("postgres")?.batch_execute(&format!("ALTER ROLE {USER} NOLOGIN"))?;
    end_sessions(postgres)?;
    daemon.says("is not permitted to log in")?;
    postgres.admin("postgres")?.batch_execute(&format!("ALTER ROLE {USER} LOGIN"))?;
    same(site, person_db, daemon)
}

/// A login that is tried, and its result.
struct Case<'c> {
    name: &'c str,
    keys: &'c [(&'c str, &'c str)],
    /// Words of the error; none if it succeeds.
    error: Option<&'c str>,
}

/// Logs in with each case's keys beside `address`, which all have.
fn try_all(site: &mut Site<'_>, person_db: &PersonDatabase<'_>, cases: &[Case<'_>]) -> anyhow::Result<()> {
    for Case { name, keys, error } in cases {
        let before = source(site)?.clone();
        set(site, person_db, keys)?;
        let outcome = site.posthouse(&["persons", "check"])?;
        *source(site)? = before;
        is_said(name, &outcome, *error)?;
    }
    Ok(())
}

fn source<'t>(site: &'t mut Site<'_>) -> anyhow::Result<&'t mut toml::Table> {
    let persons = site.config_mut().get_mut("persons").and_then(Value::as_table_mut);
    persons.and_then(|persons| persons.get_mut("postgres")?.as_table_mut()).context("no source")
}

fn is_said(name: &str, outcome: &Outcome, error: Option<&str>) -> anyhow::Result<()> {
    ensure!(
        !outcome.stderr.contains(PASSWORD) && !outcome.stdout.contains(PASSWORD),
        "{name}: the password is shown"
    );
    match error {
        None => ensure!(outcome.code == 0 || outcome.code == 3, "{name}: {outcome}"),
        Some(words) => {
            ensure!(outcome.code != 0 && outcome.code != 3, "{name} succeeded: {outcome}");
            ensure!(outcome.stderr.contains(words), "{name}, without {words:?}: {outcome}");
        }
    }
    Ok(())
}

fn means_what_libpq_means_by_each_sslmode_and_login() -> anyhow::Result<()> {
    let stack = Stack::start(StackSpec::sharded(&[1]).postgres(), &Progress::Silent)?;
    let (postgres, certificates) = (stack.postgres()?, Certificates::new()?);
    let mut site = Site::new(&stack, "logins")?;
    let person_db = person_database(&mut site, Rules::default())?;
    let address = format!("localhost:{}", postgres.port());
    person_db.set(&mut site, "address", address.as_str())?;
    let site = &mut site;
    without_tls(site, &person_db)?;
    by_mode(site, &person_db, &certificates)?;
    by_login(site, &person_db, &certificates)?;
    by_host(site, &person_db)
}

/// A server without TLS.
fn without_tls(site: &mut Site<'_>, person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    let case = |name, mode, error| (name, [("sslmode", mode)], error);
    for (name, keys, error) in [
        case("prefer without TLS", "prefer", None),
        case("disable without TLS", "disable", None),
        case(
            "require without TLS",
            "require",
            Some("it offers no TLS, and persons.postgres.sslmode is \"require\""),
        ),
    ] {
        try_all(site, person_db, &[Case { name, keys: &keys, error }])?;
    }
    Ok(())
}

/// Each `sslmode` with the right CA, the wrong one and none; names; dates.
fn by_mode(
    site: &mut Site<'_>,
    person_db: &PersonDatabase<'_>,
    certificates: &Certificates,
) -> anyhow::Result<()> {
    let postgres = person_db.postgres();
    certificates.serve(postgres, TLS_ONLY, &leaf(&certificates.own, "localhost", 2096)?)?;
    let right = certificates.write("right.pem", &certificates.own.pem())?;
    let wrong = certificates.write("wrong.pem", &CertificateAuthority::new("other")?.pem())?;
    let (right, wrong) = (("sslrootcert", right.as_str()), ("sslrootcert", wrong.as_str()));
    let by_number = format!("127.0.0.1:{}", postgres.port());
    let by_number = ("address", by_number.as_str());
    let mode = |mode| ("sslmode", mode);
    let (unknown, name) = (Some("set sslrootcert to the CA"), Some("connect by a name in the certificate"));
    try_all(
        site,
        person_db,
        &[
            Case { name: "disable", keys: &[mode("disable")], error: Some("no encryption") },
            Case { name: "prefer", keys: &[mode("prefer")], error: None },
            Case { name: "prefer, wrong CA", keys: &[mode("prefer"), wrong], error: unknown },
            Case { name: "require", keys: &[mode("require")], error: None },
            Case { name: "require, another name", keys: &[mode("require"), by_number], error: None },
            Case { name: "require, right CA", keys: &[mode("require"), right], error: None },
            // As in libpq, a CA file makes it verify-ca.
            Case { name: "require, wrong CA", keys: &[mode("require"), wrong], error: unknown },
            Case { name: "verify-ca", keys: &[mode("verify-ca"), right], error: None },
            Case {
                name: "verify-ca, another name",
                keys: &[mode("verify-ca"), right, by_number],
                error: None,
            },
            Case { name: "verify-ca, wrong CA", keys: &[mode("verify-ca"), wrong], error: unknown },
            Case { name: "verify-ca, no CA", keys: &[mode("verify-ca")], error: Some("needs sslrootcert") },
            Case { name: "verify-full", keys: &[mode("verify-full"), right], error: None },
            Case { name: "verify-full, wrong CA", keys: &[mode("verify-full"), wrong], error: unknown },
            Case {
                name: "verify-full, another name",
                keys: &[mode("verify-full"), right, by_number],
                error: name,
            },
            Case { name: "system", keys: &[("sslrootcert", "system")], error: unknown },
            Case {
                name: "binding without TLS",
                keys: &[mode("disable"), ("channel_binding", "require")],
                error: Some("needs TLS"),
            },
            Case { name: "binding", keys: &[mode("require"), ("channel_binding", "require")], error: None },
            Case {
                name: "no binding",
                keys: &[mode("require"), ("channel_binding", "disable")],
                error: None,
            },
        ],
    )?;
    // WHEN the certificate has expired THEN modes that check it refuse it
    certificates.serve(postgres, TLS_ONLY, &leaf(&certificates.own, "localhost", 2021)?)?;
    let expired = Some("the server's certificate has expired");
    try_all(
        site,
        person_db,
        &[
            Case { name: "verify-full, expired", keys: &[mode("verify-full"), right], error: expired },
            Case { name: "verify-ca, expired", keys: &[mode("verify-ca"), right], error: expired },
            Case { name: "require, expired", keys: &[mode("require")], error: None },
        ],
    )
}

/// Every kind of login that pg_hba.conf can ask for.
fn by_login(
    site: &mut Site<'_>,
    person_db: &PersonDatabase<'_>,
    certificates: &Certificates,
) -> anyhow::Result<()> {
    let postgres = person_db.postgres();
    let server = leaf(&certificates.own, "localhost", 2096)?;
    let serve = |hba: &str| certificates.serve(postgres, hba, &server);
    let own = leaf(&certificates.own, USER, 2096)?;
    let foreign = leaf(&CertificateAuthority::new("other")?, USER, 2096)?;
    let encrypted = "encrypted.key";
    let paths = [
        ("own.crt", own.certificate),
        ("own.key", own.key),
        ("foreign.crt", foreign.certificate),
        ("foreign.key", foreign.key),
    ];
    let paths: Vec<String> =
        paths.iter().map(|(name, text)| certificates.write(name, text)).collect::<Result<_, _>>()?;
    let passphrase = certificates.write("passphrase", "pass phrase\n")?;
    let encrypted = encrypt(&certificates.folder.path().join(encrypted), &paths[1])?;
    let own = [("sslcert", paths[0].as_str()), ("sslkey", paths[1].as_str())];
    let foreign = [("sslcert", paths[2].as_str()), ("sslkey", paths[3].as_str())];
    let locked = [own[0], ("sslkey", encrypted.as_str())];
    let unlocked = [locked[0], locked[1], ("sslpassword_file", passphrase.as_str())];
    // WHEN a certificate is demanded beside the password, or instead of it
    serve("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n")?;
    try_all(
        site,
        person_db,
        &[
            Case { name: "certificate and password", keys: &own, error: None },
            Case { name: "no certificate", keys: &[], error: Some("set persons.postgres.sslcert") },
            Case { name: "a foreign certificate", keys: &foreign, error: Some("check sslcert and sslkey") },
            Case { name: "an encrypted key", keys: &unlocked, error: None },
            Case { name: "a locked key", keys: &locked, error: Some("set sslpassword_file") },
        ],
    )?;
    serve("hostssl all all 127.0.0.1/32 cert\n")?;
    try_all(site, person_db, &[Case { name: "certificate alone", keys: &own, error: None }])?;
    // WHEN the role's password is stored as md5 THEN it works for queries and for the stream, over
    // an open connection too, as with libpq
    let password = PASSWORD.replace('\'', "''");
    let md5 = format!("SET password_encryption = 'md5'; ALTER ROLE {USER} PASSWORD '{password}'");
    postgres.admin("postgres")?.batch_execute(&md5)?;
    serve("host all all 127.0.0.1/32 md5\n")?;
    let require = ("channel_binding", "require");
    try_all(
        site,
        person_db,
        &[
            Case { name: "md5, open", keys: &[("sslmode", "disable")], error: None },
            Case { name: "md5, encrypted", keys: &[], error: None },
            Case { name: "md5, bound", keys: &[require], error: Some("channel_binding is \"require\"") },
        ],
    )?;
    person_db.set(site, "sslmode", "disable")?;
    let daemon = Daemon::start(site, "off")?;
    daemon.says("streaming changes")?;
    person_db.admin()?.batch_execute(PEOPLE)?;
    same(site, person_db, &daemon)?;
    ensure!(sessions(postgres, false, true)? == 1, "no open stream");
    ensure!(daemon.end()? == 0, "another exit code");
    source(site)?.remove("sslmode");
    // WHEN the password is asked for in the clear THEN it is sent over TLS only
    serve("host all all 127.0.0.1/32 password\n")?;
    let open = Some("it asks for the password in the clear, and the connection is not encrypted");
    try_all(
        site,
        person_db,
        &[
            Case { name: "clear, open", keys: &[("sslmode", "disable")], error: open },
            Case { name: "clear, encrypted", keys: &[], error: None },
            Case { name: "clear, bound", keys: &[require], error: Some("channel_binding is \"require\"") },
        ],
    )?;
    let scram = format!("SET password_encryption = 'scram-sha-256'; ALTER ROLE {USER} PASSWORD '{password}'");
    postgres.admin("postgres")?.batch_execute(&scram)?;
    serve(TLS_ONLY)
}

/// Encrypts a key with the passphrase `pass phrase`.
fn encrypt(to: &Path, from: &str) -> anyhow::Result<String> {
    let mut command = std::process::Command::new("openssl");
    command.args(["pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:pass phrase", "-in", from, "-out"]);
    let output = command.arg(to).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(to.display().to_string())
}

/// Sockets, several hosts, URLs and password files.
fn by_host(site: &mut Site<'_>, person_db: &PersonDatabase<'_>) -> anyhow::Result<()> {
    let postgres = person_db.postgres();
    let (socket, closed) = (postgres.socket(), free_address()?);
    let open = format!("localhost:{}", postgres.port());
    try_all(site, person_db, &[Case { name: "a socket", keys: &[("address", &socket)], error: None }])?;
    // GIVEN hosts, the first of which is away
    let before = source(site)?.clone();
    source(site)?.remove("address");
    let hosts = vec![Value::from(closed.as_str()), Value::from(open.as_str())];
    source(site)?.insert("addresses".to_owned(), hosts.into());
    try_all(site, person_db, &[Case { name: "the second host", keys: &[], error: None }])?;
    source(site)?.insert("addresses".to_owned(), vec![Value::from(closed.as_str()); 1].into());
    try_all(site, person_db, &[Case { name: "no host", keys: &[], error: Some(&closed) }])?;
    // GIVEN a URL and a password file
    let passfile = site.folder().join("pgpass");
    let password = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    std::fs::write(&passfile, format!("# comment\n*:*:{}:{USER}:{password}\n", person_db.name()))?;
    std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    for key in ["addresses", "database", "user", "password_file"] {
        source(site)?.remove(key);
    }
    let url = format!(
        "postgresql://{USER}@{closed},{open}/{}?sslmode=require&target_session_attrs=read-write&passfile={}",
        person_db.name(),
        passfile.display()
    );
    try_all(site, person_db, &[Case { name: "a URL", keys: &[("url", &url)], error: None }])?;
    // WHEN the group may read the file THEN it is ignored, and that is said
    std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
    let ignored = Some("chmod 0600");
    try_all(site, person_db, &[Case { name: "an open file", keys: &[("url", &url)], error: ignored }])?;
    let with_password = url.replace('@', ":s3cret@");
    person_db.set(site, "url", with_password)?;
    let refused = site.posthouse(&["persons", "check"])?;
    ensure!(refused.code == 2 && refused.stderr.contains("has a password"), "{refused}");
    ensure!(!refused.stderr.contains("s3cret"), "{refused}");
    *source(site)? = before;
    // The role's sessions end with their processes.
    wait_until("no session to be left", LIMIT, || match sessions(postgres, true, false) {
        Ok(0) => ControlFlow::Break(Ok(())),
        other => ControlFlow::Continue(anyhow!("{other:?}")),
    })
}
