//! Topics on several brokers: dead brokers, killed applies, missing rights.

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::protocol::StrBytes;
use posthouse::parts::{Connection, WireAccess};
use posthouse_tests::site::{Outcome, Site};
use posthouse_tests::stack::{Progress, Stack, StackSpec, User, wait_until};
use posthouse_tests::torture::topics as kills;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tokio::runtime::Runtime;

use crate::seed;
use crate::topics::{Broker, write_topics};

tests! {
    Shared brokers_that_do_not_answer_are_named,
    Own topics_are_as_wanted_however_often_an_apply_dies,
    Own topics_on_three_brokers_outlive_one_of_them_and_users_are_told_what_they_lack,
}

const LIMIT: Duration = Duration::from_secs(60);
const READER: User = User { name: "reader", password: "reader-secret" };

/// Kafka's numbers of resource types and operations.
const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const READ: i8 = 3;
const DESCRIBE: i8 = 8;
const DESCRIBE_CONFIGS: i8 = 10;

fn brokers_that_do_not_answer_are_named(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN an address without a listener
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    site.set("kafka", "brokers", vec![address.clone()]);
    // WHEN any topics command runs THEN it fails with the address, the reason and a hint
    for verb in [&["plan"][..], &["apply"], &["check"], &["groups"], &["import"]] {
        let outcome = site.posthouse(&[&["topics"], verb].concat())?;
        let said = format!("no kafka broker answers at {address}");
        ensure!(outcome.code == 1 && outcome.stderr.contains(&said), "{verb:?}: {outcome}");
        for part in ["Connection refused", "check that a broker listens there"] {
            ensure!(outcome.stderr.contains(part), "{verb:?}: {outcome}");
        }
    }
    Ok(())
}

fn topics_are_as_wanted_however_often_an_apply_dies() -> anyhow::Result<()> {
    // GIVEN one fault of each kind, at random times
    let seed = seed("brokers")?;
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::Lines)?;
    // WHEN each apply that died is repeated
    let report = kills::run(&stack, 4, seed, &|line| eprintln!("{line}"))?;
    // THEN every change is made, and none beyond
    ensure!(report.kills >= 4 && report.produced > 0, "{report:?}");
    ensure!(report.lost == 0 && report.twice == 0, "{report:?}");
    Ok(())
}

fn topics_on_three_brokers_outlive_one_of_them_and_users_are_told_what_they_lack() -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed("brokers")?);
    let spec = StackSpec::sharded(&[1]).brokers(3).guarded(&[READER]);
    let stack = Stack::start(spec, &Progress::Lines)?;
    a_broker_dies_during_an_apply(&mut Site::new(&stack, "brokers_killed")?, &mut random)?;
    a_crowd_is_noted(&mut Site::new(&stack, "brokers_crowd")?)?;
    a_user_without_rights_can_plan(&mut Site::new(&stack, "brokers_rights")?)
}

fn a_broker_dies_during_an_apply(site: &mut Site<'_>, random: &mut StdRng) -> anyhow::Result<()> {
    // GIVEN topics with a replica on each of three brokers
    let folder = tempfile::tempdir()?;
    let file = |partitions: u32, retention: u32, topics: u32| {
        let head = format!(
            "[defaults]\npartitions = {partitions}\nreplication_factor = 3\n\
             config = {{ \"min.insync.replicas\" = 2, \"retention.ms\" = {retention} }}\n"
        );
        (0..topics).map(|topic| format!("[topics.killed_{topic}]\n")).fold(head, |text, topic| text + &topic)
    };
    write_topics(site, &folder, &file(3, 777_000, 20))?;
    site.must(&["topics", "apply"])?;
    // WHEN one broker is killed during an apply
    write_topics(site, &folder, &file(6, 888_000, 40))?;
    let mut apply = site.spawn(&["topics", "apply"])?;
    thread::sleep(Duration::from_millis(random.random_range(0..700)));
    let killed = &site.stack.brokers()[2];
    killed.kill();
    apply.wait()?;
    // THEN the plan shows the topics without all replicas in sync
    let lacking = "out of sync on broker 3 (down)";
    wait(site, "the dead broker is noted", |plan| plan.stdout.contains(lacking))?;
    // WHEN it restarts THEN the same apply completes the rest, and the plan is clean and without
    // notes
    killed.start()?;
    wait(site, "its copies are in sync", |plan| !plan.stdout.contains(lacking))?;
    site.must(&["topics", "apply"])?;
    // A broker that has just started may be asked before its metadata is complete.
    wait(site, "the plan is clean", |plan| {
        plan.stdout.contains("0 to change in 0 topics, 0 refused, 40 unchanged")
            && !plan.stdout.contains("note ")
    })
}

/// Plans until the output matches.
fn wait(site: &Site<'_>, what: &str, is: impl Fn(&Outcome) -> bool) -> anyhow::Result<()> {
    wait_until(what, LIMIT, || match site.posthouse(&["topics", "plan"]) {
        Ok(plan) if is(&plan) => ControlFlow::Break(Ok(())),
        Ok(plan) => ControlFlow::Continue(anyhow!("{plan}")),
        Err(error) => ControlFlow::Break(Err(error)),
    })
}

fn a_crowd_is_noted(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic with all its partitions on one broker
    let (folder, name) = (tempfile::tempdir()?, site.name().to_owned());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", site.brokers()).create()?;
    let crowded = NewTopic::new(&name, 3, TopicReplication::Variable(&[&[2], &[2], &[2]]));
    let made = Runtime::new()?.block_on(admin.create_topics([&crowded], &AdminOptions::new()))?;
    ensure!(made.iter().all(Result::is_ok), "{made:?}");
    write_topics(site, &folder, &format!("[topics.{name}]\npartitions = 3\nreplication_factor = 1\n"))?;
    // THEN the plan notes it and has no change
    wait(site, "the crowd is noted", |plan| {
        plan.code == 0 && plan.stdout.contains("badly spread: broker 2 holds 3 of its partitions")
    })
}

fn a_user_without_rights_can_plan(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a user that may only describe topics
    let (folder, name) = (tempfile::tempdir()?, site.name().to_owned());
    let guarded = site.stack.brokers()[0].guarded_address().context("no guarded door")?;
    let open = site.stack.brokers()[0].address();
    allow(&open, TOPIC, "*", DESCRIBE)?;
    allow(&open, TOPIC, "*", DESCRIBE_CONFIGS)?;
    let secret = folder.path().join("password");
    std::fs::write(&secret, format!("{}\n", READER.password))?;
    site.set("kafka", "brokers", vec![guarded]);
    site.set("kafka", "user", READER.name).set("kafka", "password_file", secret.display().to_string());
    // WHEN a change reclaims bytes THEN the plan has them once the user may describe the cluster
    let reclaiming = format!("{name}_reclaiming");
    Broker::of(site)?.create(&reclaiming, 1, &[("retention.ms", "7200000")])?;
    let text = "partitions = 1\nreplication_factor = 1\nconfig = { \"retention.ms\" = 3600000 }\n";
    write_topics(site, &folder, &format!("[topics.{reclaiming}]\n{text}"))?;
    wait(site, "the messages are counted", |plan| {
        plan.stdout.contains("reclaims 0 messages") && !plan.stdout.contains("on all brokers")
    })?;
    allow(&open, CLUSTER, "kafka-cluster", DESCRIBE)?;
    wait(site, "the bytes are counted", |plan| plan.stdout.contains("about 0 B on all brokers"))?;
    // WHEN a topic is missing THEN the plan works
    write_topics(site, &folder, &format!("[topics.{name}]\npartitions = 1\nreplication_factor = 1\n"))?;
    let plan = site.posthouse(&["topics", "plan"])?;
    ensure!(plan.code == 3 && plan.stdout.contains(&format!("+ {name}: ")), "{plan}");
    // THEN the apply names the missing right: first the lock
    let apply = site.posthouse(&["topics", "apply"])?;
    ensure!(apply.code == 1 && apply.stderr.contains("needs Read on group posthouse-topics"), "{apply}");
    // WHEN the user may take the lock THEN the apply names the right to create
    allow(&open, GROUP, "posthouse-topics", READ)?;
    let apply = site.posthouse(&["topics", "apply"])?;
    let wanted = format!("this user needs the right Create on topic {name} or on the cluster");
    ensure!(apply.code == 1 && apply.stdout.contains(&wanted), "{apply}");
    // WHEN the password is wrong THEN the hint names the user and its password
    std::fs::write(&secret, "wrong\n")?;
    let plan = site.posthouse(&["topics", "plan"])?;
    ensure!(plan.code == 1 && plan.stderr.contains("kafka.user and its password"), "{plan}");
    ensure!(!format!("{plan}{apply}").contains(READER.password), "the password was printed");
    Ok(())
}

/// Allows the reader an operation.
fn allow(broker: &str, kind: i8, resource: &str, operation: i8) -> anyhow::Result<()> {
    const LITERAL: i8 = 3;
    const ALLOW: i8 = 3;
    let (host, port) = broker.rsplit_once(':').context("host:port")?;
    let rule = AclCreation::default()
        .with_resource_type(kind)
        .with_resource_name(resource.to_owned().into())
        .with_resource_pattern_type(LITERAL)
        .with_principal(StrBytes::from_static_str("User:reader"))
        .with_host(StrBytes::from_static_str("*"))
        .with_operation(operation)
        .with_permission_type(ALLOW);
    let request = CreateAclsRequest::default().with_creations(vec![rule]);
    let results = Connection::open(host, port.parse()?, &WireAccess::default())?.ask(3, &request)?.results;
    ensure!(results.len() == 1 && results[0].error_code == 0, "{results:?}");
    Ok(())
}
