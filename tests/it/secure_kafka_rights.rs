//! Rights in Kafka: each command works with its documented rights, and names a missing one.

use std::fs;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::protocol::StrBytes;
use posthouse::parts::{CommandRights, Connection, KAFKA_RIGHTS, WireAccess};
use posthouse_tests::daemon::Daemon;
use posthouse_tests::people::{PersonDatabase, Rules};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{NodeOptions, Progress, Stack, StackSpec, User, wait_until};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::topics::Broker;

tests! {
    Own secure_kafka_each_command_works_with_its_rights_and_names_a_missing_one,
}

/// The database and the topic of events of the site.
const SITE: &str = "kafka_rights";
/// The nodes' user, with all rights.
const NODE: User = User { name: "node", password: PASSWORD };
const PASSWORD: &str = "pw-of-kafka-rights-5c1d";
const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(30);
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/exports/segment-tracks.parquet");

/// A user of a row's command, and the right that it lacks, with what it loses if that is no error.
struct RowUser {
    user: User,
    row: &'static CommandRights,
    lacks: Option<&'static str>,
    loss: Option<&'static str>,
}

impl RowUser {
    /// The rights of the row, and of the missing one what other rights give as well.
    fn rights(&self) -> Vec<String> {
        let all = self.row.grants.iter().chain(self.row.optional.iter().map(|(right, _)| right));
        let held = all.filter(|right| Some(**right) != self.lacks).map(|right| (*right).to_owned());
        let included =
            self.lacks.and_then(|lacks| lacks.split_once(" on ")).and_then(|(operation, resource)| {
                let included = match operation {
                    "Read" | "Write" | "Delete" | "Alter" => "Describe",
                    "AlterConfigs" => "DescribeConfigs",
                    _ => return None,
                };
                Some(format!("{included} on {resource}"))
            });
        held.chain(included).collect()
    }
}

/// One user for each right of each row, which it lacks, and then one with all rights of the row.
fn users() -> Vec<RowUser> {
    let mut users = Vec::new();
    for row in KAFKA_RIGHTS {
        let refused = row.grants.iter().map(|right| (Some(*right), None));
        let lost = row.optional.iter().map(|(right, loss)| (Some(*right), Some(*loss)));
        for (number, (lacks, loss)) in refused.chain(lost).chain([(None, None)]).enumerate() {
            // The users live as long as the process.
            let name: &'static str = Box::leak(format!("{}_{number}", row.name).into_boxed_str());
            users.push(RowUser { user: User { name, password: PASSWORD }, row, lacks, loss });
        }
    }
    users
}

/// The resource that a name of the page stands for. Each user has a topic and a group of its own.
fn named(name: &str, user: &str) -> String {
    match name {
        "TOPIC" | "GROUP" => user.to_owned(),
        "EVENTS" | "EVENTS_GROUP" => SITE.to_owned(),
        "PERSON" => format!("{SITE}_person"),
        "DISTINCT_ID" => format!("{SITE}_person_distinct_id"),
        "STATE" => format!("{SITE}_state"),
        "PERSON_GROUP" => format!("{SITE}_persons_ch1"),
        "DISTINCT_ID_GROUP" => format!("{SITE}_persons_distinct_id_ch1"),
        name => name.replace("DATABASE", SITE),
    }
}

/// Kafka's numbers of a right.
fn rule(user: &str, right: &str) -> anyhow::Result<AclCreation> {
    const LITERAL: i8 = 3;
    const ALLOW: i8 = 3;
    let (operation, resource) = right.split_once(" on ").context("a right")?;
    let (kind, name) = resource.split_once(' ').unwrap_or((resource, "kafka-cluster"));
    let kind = match kind {
        "topic" => 2,
        "group" => 3,
        "cluster" => 4,
        kind => anyhow::bail!("no resource is a {kind}"),
    };
    let operation = match operation {
        "All" => 2,
        "Read" => 3,
        "Write" => 4,
        "Create" => 5,
        "Delete" => 6,
        "Alter" => 7,
        "Describe" => 8,
        "DescribeConfigs" => 10,
        "AlterConfigs" => 11,
        operation => anyhow::bail!("no operation is {operation}"),
    };
    Ok(AclCreation::default()
        .with_resource_type(kind)
        .with_resource_name(named(name, user).into())
        .with_resource_pattern_type(LITERAL)
        .with_principal(format!("User:{user}").into())
        .with_host(StrBytes::from_static_str("*"))
        .with_operation(operation)
        .with_permission_type(ALLOW))
}

/// Gives all users their rights at once.
fn allow(stack: &Stack, users: &[RowUser]) -> anyhow::Result<()> {
    let rules =
        users.iter().flat_map(|user| user.rights().into_iter().map(|right| rule(user.user.name, &right)));
    let mut rules = rules.collect::<anyhow::Result<Vec<_>>>()?;
    for all in ["All on topic *", "All on group *", "All on cluster"] {
        rules.push(rule(NODE.name, all)?);
    }
    let address = stack.broker().address();
    let (host, port) = address.rsplit_once(':').context("host:port")?;
    let request = CreateAclsRequest::default().with_creations(rules);
    let results = Connection::open(host, port.parse()?, &WireAccess::default())?.ask(3, &request)?.results;
    ensure!(results.iter().all(|result| result.error_code == 0), "{results:?}");
    Ok(())
}

fn client(site: &Site<'_>, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", site.brokers()).set("group.id", group);
    config
}

/// The command of a row, run by one user.
struct Run<'a, 's> {
    site: &'a mut Site<'s>,
    persons: &'a PersonDatabase<'s>,
    /// The user's number among all.
    number: usize,
    user: User,
}

impl Run<'_, '_> {
    fn as_user(&mut self) -> anyhow::Result<()> {
        let guarded = self.site.stack.broker().guarded_address().context("no guarded listener")?;
        self.site.set("kafka", "brokers", vec![guarded]);
        self.site.set("kafka", "user", self.user.name).set("kafka", "password_file", "password");
        Ok(())
    }

    fn user(&mut self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        self.as_user()?;
        self.site.posthouse(arguments)
    }

    /// Creates the user's topic with messages of a group, and writes the wanted one.
    fn topic(&mut self, exists: bool, wanted: &str) -> anyhow::Result<()> {
        let name = self.user.name;
        if exists {
            Broker::of(self.open())?.create(name, PARTITIONS, &[("retention.ms", "7200000")])?;
            let mut offsets = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                offsets.add_partition_offset(name, partition, Offset::Offset(0))?;
            }
            let producer: BaseProducer = client(self.open(), name).create()?;
            for _ in 0..100 {
                let record = BaseRecord::<(), _>::to(name).payload("{}");
                producer.send(record).map_err(|(error, _)| error)?;
            }
            producer.flush(LIMIT)?;
            let consumer: BaseConsumer = client(self.open(), name).create()?;
            consumer.commit(&offsets, CommitMode::Sync)?;
        }
        Ok(fs::write(self.site.folder().join("topics.toml"), wanted.replace("TOPIC", name))?)
    }

    /// The site with the brokers' open listener.
    fn open(&mut self) -> &Site<'_> {
        self.site.set("kafka", "brokers", vec![self.site.stack.broker().address()]);
        self.site
    }

    fn command(&mut self, row: &str) -> anyhow::Result<Outcome> {
        const TOPIC: &str = "[topics.TOPIC]\npartitions = 4\nreplication_factor = 1\n";
        const RETENTION: &str = "config = { \"retention.ms\" = 3600000 }\n";
        let (plan, apply, name) = (["topics", "plan"], ["topics", "apply"], self.user.name);
        match row {
            "topics_plan" => {
                self.topic(true, &format!("{TOPIC}{RETENTION}"))?;
                self.user(&plan)
            }
            "topics_groups" => {
                self.topic(true, TOPIC)?;
                self.user(&["topics", "groups"])
            }
            "topics_create" => {
                self.topic(false, TOPIC)?;
                self.user(&apply)
            }
            "topics_partitions" => {
                self.topic(true, &TOPIC.replace('4', "6"))?;
                self.user(&apply)
            }
            "topics_configs" => {
                self.topic(true, &format!("{TOPIC}{RETENTION}"))?;
                self.user(&apply)
            }
            "topics_delete" => {
                self.topic(true, "[topics.TOPIC]\ndelete = true\n")?;
                self.user(&[&apply[..], &["--yes-delete", name]].concat())
            }
            "topics_reset" => {
                self.topic(true, TOPIC)?;
                self.user(&["topics", "reset", name, "--to", "latest", "--execute"])
            }
            "schema_apply" => {
                self.site.set("events", "deduplication_window", i64::try_from(1_000 + self.number)?);
                self.user(&["schema", "apply"])
            }
            "persons_check" => self.user(&["persons", "check"]),
            "persons_run" => self.run(),
            "persons_audit" => {
                // Rows that differ are looked for again after all messages are read.
                self.site.query("TRUNCATE TABLE {db}.person")?;
                self.user(&["persons", "audit"])
            }
            "persons_squash_apply" => {
                self.site.query(&format!(
                    "INSERT INTO {{db}}.person_distinct_id_overrides \
                     (team_id, distinct_id, person_id, is_deleted, version, _timestamp) \
                     SELECT 1, '{name}', generateUUIDv4(), 0, 5, now() - 200000"
                ))?;
                self.user(&["persons", "squash", "--apply"])
            }
            "persons_snapshot_build" => {
                self.site.set("persons", "index", "keep");
                let built = self.user(&["persons", "snapshot", "build"]);
                self.site.set("persons", "index", "off");
                built
            }
            "none" => self.user(&[
                "backfill",
                "run",
                FILE,
                "--mapping",
                "segment-tracks",
                "--team-id",
                "7",
                "--allow-reload",
            ]),
            row => anyhow::bail!("no command for the rights of {row}"),
        }
    }

    /// Runs posthouse until a change of this user's test is on the node, or a right is denied.
    fn run(&mut self) -> anyhow::Result<Outcome> {
        self.persons.admin()?.batch_execute(&format!(
            "WITH person AS (INSERT INTO posthog_person (uuid, team_id) VALUES (gen_random_uuid(), 1) RETURNING id) \
             INSERT INTO posthog_persondistinctid (person_id, distinct_id, team_id) SELECT id, '{}', 1 FROM person",
            self.user.name
        ))?;
        self.as_user()?;
        let daemon = Daemon::start(self.site, "off")?;
        let arrived = format!(
            "SELECT count() FROM {{db}}.person_distinct_id2 AS ids JOIN {{db}}.person ON id = person_id \
             WHERE distinct_id = '{}'",
            self.user.name
        );
        let mut code = 0;
        wait_until("the change to arrive, or a right to be denied", LIMIT, || {
            let (log, arrived) = match (daemon.log(), self.site.query(&arrived)) {
                (Ok(log), Ok(arrived)) => (log, arrived),
                (Err(error), _) | (_, Err(error)) => return ControlFlow::Break(Err(error)),
            };
            code = i32::from(log.lines().any(|line| line.contains("ERROR") && line.contains("kafka-acls")));
            match arrived != "0" || code == 1 {
                true => ControlFlow::Break(Ok(())),
                false => ControlFlow::Continue(anyhow!("{log}")),
            }
        })?;
        let stderr = daemon.log()?;
        daemon.end()?;
        Ok(Outcome { code, stdout: String::new(), stderr })
    }
}

fn secure_kafka_each_command_works_with_its_rights_and_names_a_missing_one() -> anyhow::Result<()> {
    // GIVEN a user with exactly the rights of each row of the page, and users that lack one of them
    let users = users();
    let logins: Vec<User> = users.iter().map(|user| user.user).chain([NODE]).collect();
    let nodes = NodeOptions::default().kafka_xml(&format!(
        "<security_protocol>sasl_plaintext</security_protocol><sasl_mechanism>PLAIN</sasl_mechanism>\
         <sasl_username>{}</sasl_username><sasl_password>{}</sasl_password>",
        NODE.name, NODE.password
    ));
    let spec = StackSpec::sharded(&[1]).guarded(&logins).nodes(nodes).postgres();
    let stack = Stack::start(spec, &Progress::Lines)?;
    allow(&stack, &users)?;
    let mut site = Site::new(&stack, SITE)?;
    let person_db = PersonDatabase::with(stack.postgres()?, site.name(), Rules::default())?;
    person_db.configure(&mut site)?;
    site.set("events", "profile", "posthog");
    fs::write(site.folder().join("password"), PASSWORD)?;
    Run { site: &mut site, persons: &person_db, number: 0, user: NODE }.as_user()?;
    site.apply()?;
    let (mut daemon, mut faults) = (None, Vec::new());
    for (number, RowUser { user, row, lacks, loss }) in users.iter().enumerate() {
        if row.name == "persons_audit" && daemon.is_none() {
            Run { site: &mut site, persons: &person_db, number, user: NODE }.as_user()?;
            daemon = Some(Daemon::start(&mut site, "off")?);
        }
        // WHEN the row's command runs
        let begin = Instant::now();
        let outcome = Run { site: &mut site, persons: &person_db, number, user: *user }.command(row.name)?;
        eprintln!("secure_kafka_rights: {}: {:.1} s", user.name, begin.elapsed().as_secs_f64());
        let text = outcome.to_string();
        let is_well = match (lacks, loss) {
            // THEN a missing right is named, with the command that gives it
            (Some(lacks), None) => {
                let (operation, resource) = lacks.split_once(" on ").context("a right")?;
                let (kind, name) = resource.split_once(' ').context("a kind and a name")?;
                let resource = format!("{kind} {}", named(name, user.name));
                outcome.code != 0
                    && [operation, &resource, "kafka-acls"].iter().all(|part| text.contains(part))
            }
            // and with all rights it works, also without those that tell more
            (None, _) | (_, Some(_)) => matches!(outcome.code, 0 | 3),
        };
        if !is_well {
            faults.push(format!("{} lacks {}: {text}", user.name, lacks.unwrap_or("nothing")));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}
