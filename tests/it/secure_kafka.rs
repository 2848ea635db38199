//! Brokers that demand encryption, logins and rights.
//!
//! Topics, groups, persons and the nodes' consumers over SASL_SSL, and every fault by its name.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Hmac;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, CreateAclsRequest};
use kafka_protocol::protocol::StrBytes;
use posthouse::parts::{Connection, WireAccess};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{
    Broker, BrokerCertificates, CERTIFIED_USER, EncryptedListener, NodeOptions, Progress, Stack, StackSpec,
    User, wait_until,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sha2::Sha512;
use tempfile::TempDir;
use toml::{Table, Value};

use crate::events::event;
use crate::persons_source::same;
use crate::produce::{consumed, produce};

tests! {
    Own secure_kafka_carries_topics_persons_and_events_and_names_each_fault,
}

const LIMIT: Duration = Duration::from_secs(60);
/// Has all rights.
const OPERATOR: User = User { name: "operator", password: "operator-secret" };
/// The nodes' user.
const NODE: User = User { name: "node", password: "node-secret" };

/// Kafka's numbers.
mod acl {
    pub(super) const TOPIC: i8 = 2;
    pub(super) const GROUP: i8 = 3;
    pub(super) const CLUSTER: i8 = 4;
    pub(super) const ALL: i8 = 2;
    pub(super) const LITERAL: i8 = 3;
    pub(super) const ALLOW: i8 = 3;
    pub(super) const SCRAM_SHA_512: i8 = 2;
}

/// A stack with encrypted listeners, whose nodes read over SASL_SSL.
struct Secured {
    stack: Stack,
    certificates: BrokerCertificates,
    // Last, because the servers read its files.
    folder: TempDir,
}

impl Secured {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificates = BrokerCertificates::create(&folder.path().join("pki"))?;
        // SCRAM needs a server: the librdkafka of the library has PLAIN alone.
        let authority = certificates.authority();
        let access = format!(
            "<security_protocol>sasl_ssl</security_protocol><sasl_mechanism>PLAIN</sasl_mechanism>\
             <sasl_username>{}</sasl_username><sasl_password>{}</sasl_password>\
             <ssl_ca_location>{}</ssl_ca_location>",
            NODE.name,
            NODE.password,
            authority.display()
        );
        let nodes = NodeOptions::default().kafka_xml(&access);
        let spec = StackSpec::sharded(&[1]).guarded(&[OPERATOR, NODE]).encrypted(&certificates).postgres();
        let stack = Stack::start(spec.nodes(nodes), &Progress::Lines)?;
        Ok(Self { stack, certificates, folder })
    }

    fn broker(&self) -> &Broker {
        self.stack.broker()
    }

    fn address(&self, listener: EncryptedListener) -> anyhow::Result<String> {
        self.broker().encrypted_address(listener).context("no encrypted listener")
    }

    /// Writes a secret and returns its path.
    fn secret(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Connects the site's posthouse to a listener, with `keys` beside its address and CA.
    fn connect(
        &self,
        site: &mut Site<'_>,
        listener: EncryptedListener,
        keys: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let mut kafka = Table::new();
        kafka.insert("brokers".to_owned(), vec![self.address(listener)?].into());
        for (key, value) in keys {
            kafka.insert((*key).to_owned(), (*value).into());
        }
        let mut tls = Table::new();
        tls.insert("ca_file".to_owned(), text(&self.certificates.authority()).into());
        kafka.insert("tls".to_owned(), tls.into());
        site.config_mut().insert("kafka".to_owned(), kafka.into());
        Ok(())
    }

    /// Logs in as the operator by a password.
    fn connect_by(&self, site: &mut Site<'_>, mechanism: &str) -> anyhow::Result<()> {
        let password = text(&self.secret("password", OPERATOR.password)?);
        let keys = [("user", OPERATOR.name), ("mechanism", mechanism), ("password_file", &password)];
        self.connect(site, EncryptedListener::Sasl, &keys)
    }

    /// Gives a user a right on all resources of a kind, or on one.
    fn allow(&self, user: &str, kind: i8, resource: &str, operation: i8) -> anyhow::Result<()> {
        let rule = AclCreation::default()
            .with_resource_type(kind)
            .with_resource_name(resource.to_owned().into())
            .with_resource_pattern_type(acl::LITERAL)
            .with_principal(format!("User:{user}").into())
            .with_host(StrBytes::from_static_str("*"))
            .with_operation(operation)
            .with_permission_type(acl::ALLOW);
        let request = CreateAclsRequest::default().with_creations(vec![rule]);
        let results = self.open()?.ask(3, &request)?.results;
        ensure!(results.len() == 1 && results[0].error_code == 0, "{results:?}");
        Ok(())
    }

    fn allow_all(&self, user: &str) -> anyhow::Result<()> {
        for (kind, resource) in [(acl::TOPIC, "*"), (acl::GROUP, "*"), (acl::CLUSTER, "kafka-cluster")] {
            self.allow(user, kind, resource, acl::ALL)?;
        }
        Ok(())
    }

    /// Sets another SCRAM password of the operator.
    fn set_scram_password(&self, password: &str) -> anyhow::Result<()> {
        const ITERATIONS: i32 = 4_096;
        let salt = b"a salt of a test".to_vec();
        let mut salted = vec![0; 64];
        pbkdf2::pbkdf2::<Hmac<Sha512>>(password.as_bytes(), &salt, ITERATIONS.unsigned_abs(), &mut salted)?;
        let user = ScramCredentialUpsertion::default()
            .with_name(StrBytes::from_static_str(OPERATOR.name))
            .with_mechanism(acl::SCRAM_SHA_512)
            .with_iterations(ITERATIONS)
            .with_salt(salt.into())
            .with_salted_password(salted.into());
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(vec![user]);
        let results = self.open()?.ask(0, &request)?.results;
        ensure!(results.len() == 1 && results[0].error_code == 0, "{results:?}");
        Ok(())
    }

    /// A connection with all rights.
    fn open(&self) -> anyhow::Result<Connection> {
        let address = self.broker().address();
        let (host, port) = address.rsplit_once(':').context("host:port")?;
        Ok(Connection::open(host, port.parse()?, &WireAccess::default())?)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A token without a signature, as the brokers of the stack take it.
fn token(user: &str, life: i64) -> anyhow::Result<String> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let payload = format!(r#"{{"sub":"{user}","iat":{},"exp":{}}}"#, now - 10, now + life);
    Ok(format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(payload)))
}

/// Writes the topics file of a site.
fn write_topics(site: &Site<'_>, text: &str) -> anyhow::Result<()> {
    Ok(fs::write(site.folder().join("topics.toml"), text)?)
}

fn secure_kafka_carries_topics_persons_and_events_and_names_each_fault() -> anyhow::Result<()> {
    let secured = Secured::start()?;
    for user in [OPERATOR.name, NODE.name, CERTIFIED_USER] {
        secured.allow_all(user)?;
    }
    every_login_reads_topics_groups_and_sizes(&secured, &mut Site::new(&secured.stack, "secure_logins")?)?;
    events_arrive(&secured, &mut Site::new(&secured.stack, "secure_events")?)?;
    each_fault_has_its_name(&secured, &mut Site::new(&secured.stack, "secure_faults")?)?;
    a_new_password_is_used_without_a_restart(&secured, &mut Site::new(&secured.stack, "secure_persons")?)
}

fn every_login_reads_topics_groups_and_sizes(secured: &Secured, site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic, a plan that reclaims bytes, and a group of the newer protocol with a member
    secured.connect_by(site, "SCRAM-SHA-512")?;
    let name = site.name().to_owned();
    let topics = |retention: u32| {
        format!(
            "[topics.{name}]\npartitions = 4\nreplication_factor = 1\nconfig = {{ \"retention.ms\" = {retention} }}\n"
        )
    };
    write_topics(site, &topics(7_200_000))?;
    site.must(&["topics", "apply"])?;
    site.must(&["topics", "plan"])?;
    write_topics(site, &topics(3_600_000))?;
    let group = format!("{name}_app");
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.brokers())
        .set("group.id", &group)
        .set("group.protocol", "consumer")
        .create()?;
    member.subscribe(&[&name])?;
    wait_until("the member to have its partitions", LIMIT, || {
        member.poll(Duration::from_millis(100));
        match member.assignment() {
            Ok(assigned) if assigned.count() == 4 => ControlFlow::Break(Ok(())),
            assigned => ControlFlow::Continue(anyhow!("{assigned:?}")),
        }
    })?;
    // WHEN posthouse logs in by any mechanism THEN it reads topics, sizes and members
    let token_file = text(&secured.secret("token", &token(OPERATOR.name, 300)?)?);
    let [certificate, key] = secured.certificates.client().map(|path| text(&path));
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "certificate"] {
        match mechanism {
            "OAUTHBEARER" => {
                let keys = [("mechanism", mechanism), ("token_file", &token_file)];
                secured.connect(site, EncryptedListener::Sasl, &keys)?;
            }
            "certificate" => {
                secured.connect(site, EncryptedListener::Mutual, &[])?;
                set_tls(site, &[("certificate_file", certificate.as_str()), ("key_file", &key)])?;
            }
            _ => secured.connect_by(site, mechanism)?,
        }
        let plan = site.posthouse(&["topics", "plan"])?;
        ensure!(plan.code == 3 && plan.stdout.contains("about 0 B on all brokers"), "{mechanism}: {plan}");
        let groups = site.posthouse(&["topics", "groups", "--json"])?;
        ensure!(groups.stdout.contains(&group) && groups.stdout.contains("Stable"), "{mechanism}: {groups}");
        ensure!(
            !format!("{plan}{groups}").contains(OPERATOR.password),
            "{mechanism}: the password is printed"
        );
    }
    Ok(())
}

fn set_tls(site: &mut Site<'_>, keys: &[(&str, &str)]) -> anyhow::Result<()> {
    let kafka = site.config_mut().get_mut("kafka").and_then(Value::as_table_mut);
    let tls = kafka.and_then(|kafka| kafka.get_mut("tls")?.as_table_mut()).context("no kafka.tls")?;
    for (key, value) in keys {
        tls.insert((*key).to_owned(), (*value).into());
    }
    Ok(())
}

fn events_arrive(secured: &Secured, site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a posthouse with a login, and nodes with theirs in <kafka>
    secured.connect_by(site, "SCRAM-SHA-512")?;
    site.must(&["topics", "apply"])?;
    // WHEN the schema is planned THEN a note has what the nodes need, without the password
    let plan = site.posthouse(&["schema", "plan"])?;
    for part in ["<security_protocol>sasl_ssl</security_protocol>", "from_env=", "<ssl_ca_location>"] {
        ensure!(plan.stdout.contains(part), "no {part}: {plan}");
    }
    ensure!(!format!("{plan}").contains(OPERATOR.password), "{plan}");
    // WHEN it is applied THEN events arrive over SASL_SSL, and the note has gone
    site.must(&["schema", "apply"])?;
    flow(site)?;
    let check = site.must(&["schema", "check"])?;
    ensure!(!check.stdout.contains("security_protocol"), "{check}");
    let definition = site.query("SHOW CREATE TABLE {db}.kafka_events")?;
    ensure!(!definition.contains("sasl") && !definition.contains(NODE.password), "{definition}");
    Ok(())
}

/// Produces events, and waits until they are stored.
fn flow(site: &Site<'_>) -> anyhow::Result<()> {
    let events: Vec<String> =
        (0..20).map(|number| serde_json::Value::Object(event(number)).to_string()).collect();
    let events: Vec<Option<&[u8]>> = events.iter().map(|event| Some(event.as_bytes())).collect();
    produce(site, &events)?;
    consumed(site)?;
    let stored = site.stored()?;
    ensure!(stored.rows == 20, "{stored:?}");
    Ok(())
}

/// Plans topics, and expects a failure with all of `parts`.
fn refused(site: &Site<'_>, what: &str, parts: &[&str]) -> anyhow::Result<Outcome> {
    let plan = site.posthouse(&["topics", "plan"])?;
    ensure!(plan.code == 1 || plan.code == 2, "{what}: {plan}");
    for part in parts {
        ensure!(plan.stderr.contains(part), "{what}: no {part:?} in {plan}");
    }
    ensure!(!plan.stderr.contains(OPERATOR.password), "{what}: the password is printed");
    Ok(plan)
}

fn each_fault_has_its_name(secured: &Secured, site: &mut Site<'_>) -> anyhow::Result<()> {
    let unreachable = "no kafka broker answers at localhost:";
    // A CA that has not signed the certificate.
    secured.connect_by(site, "PLAIN")?;
    set_tls(site, &[("ca_file", &text(&secured.certificates.other_authority()))])?;
    refused(site, "another CA", &[unreachable, "set ca_file to the CA that signed"])?;
    // Certificates that are not valid.
    secured.connect(site, EncryptedListener::Expired, &[])?;
    refused(site, "expired", &[unreachable, "expired", "renew it"])?;
    secured.connect(site, EncryptedListener::Stranger, &[])?;
    refused(site, "another host", &[unreachable, "connect by a name in the certificate"])?;
    set_insecure(site)?;
    let plan = site.posthouse(&["topics", "plan"])?;
    ensure!(plan.code == 3 && plan.stderr.contains("insecure_skip_verify"), "{plan}");
    // No certificate, where one is demanded.
    secured.connect(site, EncryptedListener::Mutual, &[])?;
    refused(site, "no client certificate", &[unreachable, "certificate_file and key_file"])?;
    // TLS on a plain port, and none on a TLS port.
    secured.connect_by(site, "PLAIN")?;
    let plain = secured.broker().guarded_address().context("no guarded listener")?;
    site.set("kafka", "brokers", vec![plain]);
    refused(site, "a plain port", &["the broker may not speak TLS at this port"])?;
    secured.connect_by(site, "PLAIN")?;
    remove(site, "tls")?;
    refused(site, "a TLS port", &[unreachable, "[kafka.tls]"])?;
    // No login where one is demanded.
    secured.connect(site, EncryptedListener::Sasl, &[])?;
    refused(site, "no login", &[unreachable, "kafka.user"])?;
    // Wrong secrets.
    let wrong = text(&secured.secret("wrong", "another")?);
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        secured.connect_by(site, mechanism)?;
        site.set("kafka", "password_file", wrong.as_str());
        refused(
            site,
            mechanism,
            &[unreachable, "refuses the login of operator", mechanism, "check kafka.user"],
        )?;
    }
    let expired = text(&secured.secret("expired_token", &token(OPERATOR.name, -100)?)?);
    let keys = [("mechanism", "OAUTHBEARER"), ("token_file", expired.as_str())];
    secured.connect(site, EncryptedListener::Sasl, &keys)?;
    refused(site, "an expired token", &[unreachable, "refuses the token", "renew it"])?;
    // A name that does not exist, and a mechanism that the listener lacks.
    secured.connect_by(site, "PLAIN")?;
    site.set("kafka", "brokers", vec!["nowhere.invalid:9092"]);
    refused(site, "no such name", &["nowhere.invalid", "can't be resolved"])?;
    secured.connect_by(site, "SCRAM-SHA-512")?;
    remove(site, "tls")?;
    let plain = secured.broker().guarded_address().context("no guarded listener")?;
    site.set("kafka", "brokers", vec![plain]);
    refused(site, "no such mechanism", &["does not support SCRAM-SHA-512", "(it has PLAIN)"]).map(drop)
}

fn set_insecure(site: &mut Site<'_>) -> anyhow::Result<()> {
    let kafka = site.config_mut().get_mut("kafka").and_then(Value::as_table_mut);
    let tls = kafka.and_then(|kafka| kafka.get_mut("tls")?.as_table_mut()).context("no kafka.tls")?;
    tls.insert("insecure_skip_verify".to_owned(), true.into());
    Ok(())
}

fn remove(site: &mut Site<'_>, key: &str) -> anyhow::Result<()> {
    let kafka = site.config_mut().get_mut("kafka").and_then(Value::as_table_mut).context("no kafka")?;
    kafka.remove(key).context("no such key").map(drop)
}

fn a_new_password_is_used_without_a_restart(secured: &Secured, site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN persons that follow PostgreSQL over SASL_SSL
    secured.connect_by(site, "SCRAM-SHA-512")?;
    let person_db = PersonDatabase::with(secured.stack.postgres()?, site.name(), Rules::default())?;
    person_db.configure(site)?;
    site.apply()?;
    let insert =
        "INSERT INTO posthog_person (uuid, team_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 10)";
    person_db.admin()?.batch_execute(insert)?;
    let daemon = Daemon::start(site, "check")?;
    same(site, &person_db, &daemon)?;
    // WHEN the brokers have another password, and every connection is made again
    secured.set_scram_password("rotated-secret")?;
    secured.broker().kill();
    secured.broker().start()?;
    person_db.admin()?.batch_execute(insert)?;
    // THEN the refused login is reported
    let log = daemon.says("refuses the login of operator by SCRAM-SHA-512")?;
    ensure!(!log.contains(OPERATOR.password), "the password is logged");
    // WHEN the file has the new one THEN the same process goes on
    secured.secret("password", "rotated-secret")?;
    same(site, &person_db, &daemon)?;
    let log = daemon.log()?;
    ensure!(!log.contains("rotated-secret"), "the password is logged");
    Ok(())
}
