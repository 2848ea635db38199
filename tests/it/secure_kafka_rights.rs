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

use crate::groups::{commit, fill, now};
use crate::produce::consumed_by;
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
/// The database and the topic of events of a site that another program's table reads at first.
const TAKEOVER: &str = "kafka_rights_takeover";
/// That table, and its group.
const OTHER_TABLE: &str = "other_kafka_events";
const OTHER_GROUP: &str = "other_program";
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

/// The resource that a name of the page stands for in a row. Each user has a topic and a group of
/// its own.
fn named(name: &str, row: &str, user: &str) -> String {
    let (site, events_group) = match row {
        "schema_adopt" | "schema_hand_back" => (TAKEOVER, OTHER_GROUP),
        _ => (SITE, SITE),
    };
    match name {
        "TOPIC" | "GROUP" => user.to_owned(),
        "EVENTS" => site.to_owned(),
        "EVENTS_GROUP" => events_group.to_owned(),
        "PERSON" => format!("{SITE}_person"),
        "DISTINCT_ID" => format!("{SITE}_person_distinct_id"),
        "STATE" => format!("{SITE}_state"),
        "PERSON_GROUP" => format!("{SITE}_persons_ch1"),
        "DISTINCT_ID_GROUP" => format!("{SITE}_persons_distinct_id_ch1"),
        name => name.replace("DATABASE", site),
    }
}

/// Kafka's numbers of a right.
fn rule(row: &str, user: &str, right: &str) -> anyhow::Result<AclCreation> {
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
        .with_resource_name(named(name, row, user).into())
        .with_resource_pattern_type(LITERAL)
        .with_principal(format!("User:{user}").into())
        .with_host(StrBytes::from_static_str("*"))
        .with_operation(operation)
        .with_permission_type(ALLOW))
}

/// Gives all users their rights at once.
fn allow(stack: &Stack, users: &[RowUser]) -> anyhow::Result<()> {
    let rules = users.iter().flat_map(|user| {
        let rights = user.rights().into_iter();
        rights.map(move |right| rule(user.row.name, user.user.name, &right))
    });
    let mut rules = rules.collect::<anyhow::Result<Vec<_>>>()?;
    for all in ["All on topic *", "All on group *", "All on cluster"] {
        rules.push(rule("", NODE.name, all)?);
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

/// Lets the commands of a site log in as a user.
fn log_in(site: &mut Site<'_>, user: User) -> anyhow::Result<()> {
    let guarded = site.stack.broker().guarded_address().context("no guarded listener")?;
    site.set("kafka", "brokers", vec![guarded]);
    site.set("kafka", "user", user.name).set("kafka", "password_file", "password");
    Ok(())
}

/// Waits until the daemon logs a denied right at this level, or has done its work. Returns the exit
/// code of a command with this result.
fn watch(
    daemon: &Daemon,
    level: &str,
    mut is_done: impl FnMut(&str) -> anyhow::Result<bool>,
) -> anyhow::Result<i32> {
    let mut look = || {
        let log = daemon.log()?;
        let is_denied = log.lines().any(|line| line.contains(level) && line.contains("kafka-acls"));
        let is_over = is_denied || is_done(&log)?;
        anyhow::Ok((is_over, is_denied, log))
    };
    wait_until("the work to be done, or a right to be denied", LIMIT, || match look() {
        Ok((true, is_denied, _)) => ControlFlow::Break(Ok(i32::from(is_denied))),
        Ok((false, _, log)) => ControlFlow::Continue(anyhow!("{log}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })
}

/// A site whose events another program's table reads, until posthouse takes over. A denied command
/// leaves it as it is, or so that a later one goes on.
struct Takeover<'s> {
    site: Site<'s>,
}

impl<'s> Takeover<'s> {
    fn new(stack: &'s Stack) -> anyhow::Result<Self> {
        let mut site = Site::new(stack, TAKEOVER)?;
        Broker::of(&site)?.create(TAKEOVER, PARTITIONS, &[])?;
        fs::write(site.folder().join("password"), PASSWORD)?;
        log_in(&mut site, NODE)?;
        site.set("events", "group", OTHER_GROUP).set("events", "consumer", "none");
        site.must(&["schema", "apply"])?;
        let brokers = stack.broker().guarded_address().context("no guarded listener")?;
        site.query(&format!(
            "CREATE TABLE {{db}}.{OTHER_TABLE} (uuid UUID, event String, team_id Int64, distinct_id String) \
             ENGINE = Kafka SETTINGS kafka_broker_list = '{brokers}', kafka_topic_list = '{TAKEOVER}', \
             kafka_group_name = '{OTHER_GROUP}', kafka_format = 'JSONEachRow', kafka_flush_interval_ms = 500"
        ))?;
        site.query(&format!(
            "CREATE MATERIALIZED VIEW {{db}}.{OTHER_TABLE}_mv TO {{db}}.writable_events \
             AS SELECT uuid, event, team_id, distinct_id FROM {{db}}.{OTHER_TABLE}"
        ))?;
        site.set("events", "consumer", "own");
        Ok(Self { site })
    }

    fn apply(&mut self, user: User, option: &str) -> anyhow::Result<Outcome> {
        log_in(&mut self.site, user)?;
        self.site.posthouse(&["schema", "apply", option, &format!("{TAKEOVER}.{OTHER_TABLE}")])
    }

    /// Takes over. Afterwards posthouse's table has read messages, and the config leaves ingestion
    /// to the other table.
    fn adopt(&mut self, user: User) -> anyhow::Result<Outcome> {
        let adopted = self.apply(user, "--adopt")?;
        if matches!(adopted.code, 0 | 3) {
            fill(&self.site, 1, now()?)?;
            consumed_by(&self.site, OTHER_GROUP, TAKEOVER)?;
            self.show_keeper()?;
            self.site.set("events", "consumer", "none");
        }
        Ok(adopted)
    }

    /// Goes back while the group is behind Keeper, as after an outage of the brokers.
    fn hand_back(&mut self, user: User) -> anyhow::Result<Outcome> {
        commit(&self.site, OTHER_GROUP, 0)?;
        let returned = self.apply(user, "--hand-back")?;
        if matches!(returned.code, 0 | 3) {
            self.remove()?;
        }
        Ok(returned)
    }

    /// Creates a stand-in with the offsets that Keeper has, where a node can't read Keeper.
    fn show_keeper(&self) -> anyhow::Result<()> {
        if self.site.query("EXISTS TABLE system.zookeeper")? == "1" {
            return Ok(());
        }
        self.site.query(
            "CREATE TABLE system.zookeeper (path String, name String, value String) ENGINE = Memory",
        )?;
        self.site.query(&format!(
            "INSERT INTO system.zookeeper SELECT \
             concat('/posthouse/{TAKEOVER}/kafka_events/topics/{TAKEOVER}/partitions/', toString(number)), \
             'committed', '1' FROM numbers({PARTITIONS})"
        ))?;
        Ok(())
    }

    /// Drops the stand-in, and the other table with its view, because commands of later rows would
    /// ask for its group.
    fn remove(&self) -> anyhow::Result<()> {
        let engine = "SELECT engine FROM system.tables WHERE database = 'system' AND name = 'zookeeper'";
        if self.site.query(engine)? == "Memory" {
            self.site.query("DROP TABLE system.zookeeper SYNC")?;
        }
        for table in [format!("{OTHER_TABLE}_mv"), OTHER_TABLE.to_owned()] {
            self.site.query(&format!("DROP TABLE {{db}}.{table} SYNC"))?;
        }
        Ok(())
    }
}

/// The command of a row, run by one user.
struct Run<'a, 's> {
    site: &'a mut Site<'s>,
    persons: &'a PersonDatabase<'s>,
    /// The site of another program's table, once a row has needed it.
    takeover: &'a mut Option<Takeover<'s>>,
    /// The user's number among all.
    number: usize,
    user: User,
}

impl Run<'_, '_> {
    fn user(&mut self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        log_in(self.site, self.user)?;
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
            "schema_adopt" => {
                let takeover = match self.takeover.take() {
                    Some(takeover) => takeover,
                    None => Takeover::new(self.site.stack)?,
                };
                self.takeover.insert(takeover).adopt(self.user)
            }
            "schema_hand_back" => {
                let takeover = self.takeover.as_mut().context("nothing was taken over")?;
                takeover.hand_back(self.user)
            }
            "persons_check" => self.user(&["persons", "check"]),
            "persons_run" => self.run(),
            "persons_audit" => {
                // Rows that differ are looked for again after all messages are read.
                self.site.query("TRUNCATE TABLE {db}.person")?;
                self.user(&["persons", "audit"])
            }
            "persons_audit_repair" => {
                for table in ["person", "person_distinct_id2"] {
                    self.site.query(&format!("TRUNCATE TABLE {{db}}.{table}"))?;
                }
                self.user(&["persons", "audit", "--repair"])
            }
            "persons_squash_apply" => self.squash(),
            "persons_squash_unread" => {
                // A detached table reads no message, and names no group.
                self.site.query("DETACH TABLE {db}.kafka_events SYNC")?;
                fill(self.site, 1, now()?)?;
                commit(self.site, SITE, 0)?;
                let squashed = self.squash();
                self.site.query("ATTACH TABLE {db}.kafka_events")?;
                squashed
            }
            "person_index" => self.index(),
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

    /// Squashes an override that is older than a day.
    fn squash(&mut self) -> anyhow::Result<Outcome> {
        self.site.query(&format!(
            "INSERT INTO {{db}}.person_distinct_id_overrides \
             (team_id, distinct_id, person_id, is_deleted, version, _timestamp) \
             SELECT 1, '{}', generateUUIDv4(), 0, 5, now() - 200000",
            self.user.name
        ))?;
        self.user(&["persons", "squash", "--apply"])
    }

    /// Creates a person in PostgreSQL, with the user's name as its distinct id.
    fn create_person(&self) -> anyhow::Result<()> {
        Ok(self.persons.admin()?.batch_execute(&format!(
            "WITH person AS (INSERT INTO posthog_person (uuid, team_id) VALUES (gen_random_uuid(), 1) RETURNING id) \
             INSERT INTO posthog_persondistinctid (person_id, distinct_id, team_id) SELECT id, '{}', 1 FROM person",
            self.user.name
        ))?)
    }

    /// Runs posthouse with the person index alone, until a change that came after the build is in
    /// the index, or a right is denied. The persons come from another posthouse.
    fn index(&mut self) -> anyhow::Result<Outcome> {
        if self.site.query("SELECT count() FROM system.functions WHERE name = 'personOf'")? == "0" {
            self.site.must(&["udf", "install"])?;
        }
        let folder = self.site.stack.nodes()[0].user_scripts().join("posthouse-persons");
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let section = self.site.config_mut().get_mut("persons").and_then(toml::Value::as_table_mut);
        section.context("no persons")?.remove("postgres");
        self.site.set("persons", "index", "keep");
        log_in(self.site, self.user)?;
        let daemon = Daemon::start(self.site, "off")?;
        let mut code = watch(&daemon, "WARN", |log| Ok(log.contains("built the person index")))?;
        if code == 0 {
            self.create_person()?;
            let known = format!("SELECT personKnown(1, '{}')", self.user.name);
            code = watch(&daemon, "WARN", |_| Ok(self.site.query(&known)? == "1"))?;
        }
        let stderr = daemon.log()?;
        daemon.end()?;
        self.persons.configure(self.site)?;
        Ok(Outcome { command: "run".to_owned(), code, stdout: String::new(), stderr })
    }

    /// Runs posthouse until a change of this user's test is on the node, or a right is denied.
    fn run(&mut self) -> anyhow::Result<Outcome> {
        self.create_person()?;
        log_in(self.site, self.user)?;
        let daemon = Daemon::start(self.site, "off")?;
        let arrived = format!(
            "SELECT count() FROM {{db}}.person_distinct_id2 AS ids JOIN {{db}}.person ON id = person_id \
             WHERE distinct_id = '{}'",
            self.user.name
        );
        let code = watch(&daemon, "ERROR", |_| Ok(self.site.query(&arrived)? != "0"))?;
        let stderr = daemon.log()?;
        daemon.end()?;
        Ok(Outcome { command: "run".to_owned(), code, stdout: String::new(), stderr })
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
    log_in(&mut site, NODE)?;
    site.apply()?;
    let (mut takeover, mut daemon, mut faults) = (None, None, Vec::new());
    for (number, RowUser { user, row, lacks, loss }) in users.iter().enumerate() {
        if row.name == "persons_audit" && daemon.is_none() {
            log_in(&mut site, NODE)?;
            let leader = Daemon::start(&mut site, "off")?;
            // The repair after the initial snapshot is done, so that no other one repairs the rows
            // that the commands are to find.
            leader.wait("posthouse_persons_last_audit_timestamp_seconds", |at| at > 0)?;
            daemon = Some(leader);
        }
        // WHEN the row's command runs
        let begin = Instant::now();
        let mut run =
            Run { site: &mut site, persons: &person_db, takeover: &mut takeover, number, user: *user };
        let outcome = run.command(row.name)?;
        eprintln!("secure_kafka_rights: {}: {:.1} s", user.name, begin.elapsed().as_secs_f64());
        let text = outcome.to_string();
        let is_well = match (lacks, loss) {
            // THEN a missing right is named, with the command that gives it
            (Some(lacks), None) => {
                let (operation, resource) = lacks.split_once(" on ").context("a right")?;
                let (kind, name) = resource.split_once(' ').context("a kind and a name")?;
                let resource = format!("{kind} {}", named(name, row.name, user.name));
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
