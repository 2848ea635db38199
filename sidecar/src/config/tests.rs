//! Tests of valid and invalid `posthouse.toml` files.

use super::*;

const EXAMPLE: &str = include_str!("../../../posthouse.example.toml");

const SMALL: &str = r#"
[[shards]]
[[shards.replicas]]
name = "ch1"
url = "http://127.0.0.1:8123"
address = "127.0.0.1:9000"

[kafka]
brokers = ["127.0.0.1:9092"]
"#;

const SMALL_PERSONS: &str = r#"
[persons.postgres]
address = "127.0.0.1:5432"
database = "posthog"
user = "posthouse"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/base"))
}

/// Returns the faults of `text`, one per line.
fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Faulty { faults, .. }) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("faults were expected, not {other:?}"),
    }
}

#[track_caller]
fn has(faults: &[String], wanted: &str) {
    assert!(faults.iter().any(|fault| fault.contains(wanted)), "no {wanted:?} in {faults:#?}");
}

#[test]
fn the_example_shows_the_defaults() {
    let example = parse(EXAMPLE).expect("the example is right");
    let mut small = parse(SMALL).expect("the required keys suffice");
    small.shards[0].replicas[0].files.clone_from(&example.shards[0].replicas[0].files);
    small.persons = parse(&[SMALL, SMALL_PERSONS].concat()).expect("the required keys suffice").persons;
    assert_eq!(example, small);
    assert_eq!(example.events.keeper_path, "/posthouse/posthog/kafka_events");
    assert_eq!(example.kafka.topics_file, Path::new("/base/topics.toml"));
    assert_eq!(example.clickhouse.timeout, DEFAULT_TIMEOUT);
    assert_eq!(example.events.poll_timeout, DEFAULT_POLL_TIMEOUT);
    assert_eq!(example.events.batch_rows, DEFAULT_BATCH_ROWS);
}

#[test]
fn every_default_is_written_into_the_example() {
    for (key, value) in [
        ("database", format!("{DEFAULT_DATABASE:?}")),
        ("cluster", format!("{DEFAULT_CLUSTER:?}")),
        ("replicated", DEFAULT_REPLICATED.to_string()),
        ("user", format!("{DEFAULT_USER:?}")),
        ("server_profile", format!("{DEFAULT_SERVER_PROFILE:?}")),
        ("timeout", "\"10s\"".to_owned()),
        ("weight", DEFAULT_WEIGHT.to_string()),
        ("topics_file", format!("{DEFAULT_TOPICS_FILE:?}")),
        ("topic", format!("{DEFAULT_TOPIC:?}")),
        ("group", format!("{DEFAULT_GROUP:?}")),
        ("offsets", "\"keeper\"".to_owned()),
        ("keeper_path", format!("{DEFAULT_KEEPER_PATH:?}")),
        ("consumers", DEFAULT_CONSUMERS.to_string()),
        ("batch_rows", DEFAULT_BATCH_ROWS.to_string()),
        ("poll_timeout", "\"100ms\"".to_owned()),
        ("deduplication_window", DEFAULT_DEDUPLICATION_WINDOW.to_string()),
    ] {
        let line = format!("{key} = {value}");
        assert!(
            EXAMPLE.lines().any(|shown| shown.split("  ").next() == Some(&line)),
            "the example lacks {line}"
        );
    }
}

#[test]
fn many_faults_are_reported_at_once_each_with_its_line() {
    let faults = faults(
        r#"databse = "posthog"
cluster = "bad-name"
replicated = "yes"
[clickhouse]
timeout = "0s"
password = "hunter2"
[[shards]]
weight = -1
[[shards.replicas]]
name = "ch 1"
url = "ftp://host"
[kafka]
brokers = ["nowhere"]
[events]
consumers = 1_000
offsets = "kafka"
poll_timeout = 0.1
"#,
    );
    for wanted in [
        "line 1: databse: is an unknown key, did you mean database?",
        "line 2: cluster = \"bad-name\": use letters, digits and underscores",
        "line 3: replicated = \"yes\": give true or false",
        "line 5: clickhouse.timeout = \"0s\": give a duration from 1s to 10m in quotes",
        "line 6: clickhouse.password: is an unknown key",
        "line 8: shards[1].weight = -1: give a whole number from 0 to",
        "line 10: shards[1].replicas[1].name = \"ch 1\": use letters",
        "line 11: shards[1].replicas[1].url = \"ftp://host\": begin it with http://",
        "line 9: shards[1].replicas[1].address: is required: add address = ",
        "line 13: kafka.brokers = [\"nowhere\"]: item 1: give host:port",
        "line 15: events.consumers = 1_000: give a whole number from 1 to 64",
        "line 16: events.offsets = \"kafka\": give \"keeper\" or \"group\"",
        "line 17: events.poll_timeout = 0.1: give a duration from 1ms to 1m in quotes",
    ] {
        has(&faults, wanted);
    }
    assert_eq!(faults.len(), 13, "{faults:#?}");
    assert!(!faults.concat().contains("hunter2"), "a value that may be a secret is shown");
}

#[test]
fn an_empty_file_lacks_the_required_keys_only() {
    let faults = faults("");
    has(&faults, "shards: is required");
    has(&faults, "kafka.brokers: is required");
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn nodes_are_told_apart_by_name_url_and_address() {
    let twice = format!("{SMALL}\n{}", SMALL.split("[kafka]").next().unwrap_or_default());
    let faults = faults(&twice);
    for key in ["name", "url", "address"] {
        has(&faults, &format!("shards[1].replicas[1] has the same {key}"));
    }
    assert_eq!(faults.len(), 3, "{faults:#?}");
}

#[test]
fn a_second_replica_needs_replication() {
    let second = "[[shards.replicas]]\nname = \"ch2\"\nurl = \"http://h:1\"\naddress = \"h:2\"\n[kafka]";
    let text = SMALL.replace("[kafka]", second);
    has(&faults(&text), "shards[1].replicas: 2 replicas, but tables are not replicated");
    let replicated = parse(&format!("replicated = true\n{text}")).expect("replicated tables have replicas");
    assert_eq!(replicated.shards[0].replicas.len(), 2);
}

#[test]
fn a_node_stores_or_ingests_or_both() {
    let node = "[[ingest_nodes]]\nname = \"in1\"\nurl = \"http://in1:8123\"\n";
    let data = SMALL.replace("address =", "roles = [\"data\"]\naddress =");
    has(&faults(&data), "shards: no node reads events");
    parse(&format!("{data}{node}")).expect("another node reads");
    parse(&format!("{data}[events]\nconsumer = \"none\"\n")).expect("another program reads");
    let ingest = SMALL.replace("address =", "roles = [\"ingest\"]\naddress =");
    has(&faults(&ingest), "replicas[1].roles = [\"ingest\"]: a replica of a shard stores data");
    has(
        &faults(&SMALL.replace("address =", "roles = [\"reader\"]\naddress =")),
        "give \"data\" or \"ingest\"",
    );
    let twice =
        format!("{SMALL}{}", node.replace("http://in1:8123", "http://127.0.0.1:8123").replace("in1", "ch1"));
    for key in ["name", "url"] {
        has(&faults(&twice), &format!("has the same {key}"));
    }
}

#[test]
fn a_shard_must_take_rows() {
    has(&faults(&SMALL.replace("[[shards]]", "[[shards]]\nweight = 0")), "all weights are 0");
}

#[test]
fn a_function_needs_both_places() {
    let text = SMALL.replace("address =", "user_scripts_path = \"scripts\"\naddress =");
    has(&faults(&text), "replicas[1].user_scripts_path = \"scripts\": give functions_config_file too");
    let text = text.replace("address =", "functions_config_file = \"/f.xml\"\naddress =");
    let files = parse(&text).expect("both").shards[0].replicas[0].files.clone().expect("files");
    assert_eq!(
        (files.user_scripts_path, files.functions_config_file),
        ("/base/scripts".into(), "/f.xml".into())
    );
}

#[test]
fn materialized_columns_are_checked() {
    let faults = faults(&format!(
        r#"{SMALL}
[[events.materialized]]
name = "mat_$browser"
property = "$browser"
[[events.materialized]]
name = "mat_$browser"
property = "it's"
[[events.materialized]]
name = "timestamp"
property = "a\\b"
[[events.materialized]]
name = "tick`"
property = "x\ny"
"#
    ));
    for wanted in [
        "events.materialized[2].name = \"mat_$browser\": events.materialized[1] has the same name",
        "events.materialized[2].property = \"it's\": leave out quotes",
        "events.materialized[3].name = \"timestamp\": events has a column of this name",
        "events.materialized[3].property",
        "events.materialized[4].name = \"tick`\": leave out quotes",
        "events.materialized[4].property = \"x\\ny\": give at least one character, and no control characters",
    ] {
        has(&faults, wanted);
    }
    assert_eq!(faults.len(), 6, "{faults:#?}");
}

#[test]
fn own_columns_are_checked() {
    let faults = faults(&format!(
        r#"{SMALL}
[events]
profile = "posthog"
[[events.columns]]
name = "person_id"
type = "UUID"
[[events.columns]]
name = "is_object"
type = "Bool"
field = "object"
[[events.columns]]
name = "id"
type = "UUID"
field = "person_id"
[[events.columns]]
name = "outer"
type = "String"
path = ["context", "app"]
[[events.columns]]
name = "inner"
type = "String"
path = ["context", "app", "name"]
[[events.columns]]
name = "price"
type = "Decimal(9, 2)"
invalid = "dead_letter"
[[events.columns]]
name = "made_at"
type = "DateTime"
value = "message_timestamp"
path = ["made_at"]
[[events.materialized]]
name = "pmat_email"
property = "email"
source = "team_id"
[[events.materialized]]
name = "length"
expression = "length(event)"
[[events.materialized]]
name = "age"
type = "Int64"
expression = "dateDiff('day', timestamp, NOW ())"
[[events.materialized]]
name = "known"
type = "UInt8"
expression = "isknow(event) + position(event, 'now')"
"#
    ));
    for wanted in [
        "events.columns[1].name = \"person_id\": events has this column already",
        "events.columns[2].name = \"is_object\": the views use this name",
        "events.columns[3].field = \"person_id\": another column reads this field",
        "events.columns[5].path",
        "events.columns[6].invalid = \"dead_letter\": leave it out",
        "events.columns[7].path",
        "events.materialized[1].source",
        "events.materialized[2].type",
        "leave out now: a block that is sent again must give the same rows",
    ] {
        has(&faults, wanted);
    }
    assert!(!faults.concat().contains("events.materialized[4]"), "{faults:#?}");
}

#[test]
fn the_key_of_persons_is_one_column_that_the_config_has() {
    let columns = |text: &str| parse(&format!("{SMALL}\n[events]\n{text}")).expect("a config").events.columns;
    let with_key = columns("person_key = true\n");
    assert_eq!(with_key.iter().filter(|column| !columns("").contains(column)).count(), 1);
    let own = "[[events.materialized]]\nname = \"person_key\"\ntype = \"UInt64\"\nexpression = \"1\"\n";
    assert!(!parse(&format!("{SMALL}\n{own}")).expect("a config").has_person_key());
    for (more, wanted) in [
        (own, "events.materialized[1].name = \"person_key\": events has a column of this name"),
        (
            "[[events.columns]]\nname = \"person_key\"\ntype = \"UInt64\"\n",
            "events.columns[1].name = \"person_key\": events has this column already",
        ),
    ] {
        has(&faults(&format!("{SMALL}\n[events]\nperson_key = true\n{more}")), wanted);
    }
}

#[test]
fn no_password_in_a_url_and_none_in_the_message() {
    let faults = faults(&SMALL.replace("http://127", "http://me:hunter2@127"));
    has(&faults, "url: leave the user and password out");
    assert!(!faults.concat().contains("hunter2"));
}

#[test]
fn broken_toml_is_reported_with_what_else_can_be_read() {
    let faults = faults("cluster = \"a b\"\nreplicated = \n[clickhouse]\ntimeout = 0\n");
    has(&faults, "line 2: ");
    has(&faults, "line 1: cluster = \"a b\"");
    has(&faults, "line 4: clickhouse.timeout");
    assert!(!faults.concat().contains("is required"), "{faults:#?}");
}

#[test]
fn wrong_shapes_are_faults() {
    let faults = faults("shards = 3\nkafka = \"x\"\nclickhouse.user = 5\n[events]\nmaterialized = [1]\n");
    has(&faults, "line 1: shards = 3: give a list of tables");
    has(&faults, "line 2: kafka = \"x\": give a table, begun with [kafka]");
    has(&faults, "line 3: clickhouse.user = 5: give a string in quotes");
    has(&faults, "line 5: events.materialized[1] = 1: give a table");
}

#[test]
fn the_password_file_is_read_from_the_folder_of_the_config() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[clickhouse]\npassword_file = \"secret\"\n{SMALL}");
    let missing = Config::parse(&text, folder.path()).expect_err("no such file").to_string();
    assert!(missing.contains("line 2: clickhouse.password_file = \"secret\": can't read"), "{missing}");
    std::fs::write(folder.path().join("secret"), "hunter2\n").expect("a file");
    let config = Config::parse(&text, folder.path()).expect("a config");
    let password = config.clickhouse.password.as_ref().map(Credential::secret);
    assert_eq!(password, Some("hunter2".to_owned().into()));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn warns_of_encryption_without_effect_and_of_passwords_in_the_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("password"), "secret").expect("a file");
    let warnings = |text: &str| {
        let config = Config::parse(text, folder.path()).expect("a config");
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let with_tls = format!("{SMALL}[clickhouse.tls]\nca_file = \"ca.pem\"\n");
    has(&warnings(&with_tls), "tls has no effect");
    let remote = with_tls.replace("http://127.0.0.1", "https://ch1");
    assert!(warnings(&remote).is_empty(), "{:?}", warnings(&remote));
    let clear = format!("{SMALL}[clickhouse]\npassword_file = \"password\"\n");
    assert!(!warnings(&clear).iter().any(|warning| warning.contains("in the clear")));
    has(&warnings(&clear.replace("http://127.0.0.1", "http://ch1")), "in the clear to http://ch1:8123/");
}

#[test]
fn a_login_by_certificate_needs_a_certificate_and_https_alone() {
    let faults = faults(&format!("{SMALL}[clickhouse]\ncertificate_login = true\n"));
    has(&faults, "give certificate_file and key_file");
    has(&faults, "change http://127.0.0.1:8123/");
}

#[test]
fn an_address_that_others_reach_needs_a_proof_of_clients() {
    for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
        parse(&format!("{SMALL}[daemon]\nlisten = \"{loopback}\"\n")).expect(loopback);
    }
    for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "ch1:1", "localhost.example:1"] {
        let faults = faults(&format!("{SMALL}[daemon]\nlisten = \"{open}\"\nmetrics_open = true\n"));
        has(&faults, "clients must prove themselves");
    }
}

#[test]
fn a_missing_file_says_how_to_name_another() {
    let error = Config::load(Path::new("/nowhere/posthouse.toml")).expect_err("no such file");
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(error.to_string().contains("/nowhere/posthouse.toml: give its place with --config"), "{error}");
}

#[test]
fn addresses_print_as_they_are_written() {
    for address in ["127.0.0.1:9000", "[::1]:9000", "ch-1.example.com:9000"] {
        let text = SMALL.replace("127.0.0.1:9000", address);
        assert_eq!(parse(&text).expect("an address").shards[0].replicas[0].address.to_string(), address);
    }
    for wrong in ["host", "host:0", "host:70000", ":9000", "::1:9000", "a b:1", "http://h:1"] {
        has(&faults(&SMALL.replace("127.0.0.1:9000", wrong)), "give host:port");
    }
}

/// A config with every former name, with other values than the defaults.
const FORMER_NAMES: &str = r#"
[clickhouse]
timeout_s = 3
[[shards]]
[[shards.replicas]]
name = "ch1"
url = "http://127.0.0.1:8123"
address = "127.0.0.1:9000"
user_scripts = "scripts"
functions = "f.xml"
[kafka]
brokers = ["127.0.0.1:9092"]
topics = "t.toml"
[events]
poll_timeout_ms = 250
[persons]
flush_ms = 100
[persons.postgres]
address = "127.0.0.1:5432"
database = "posthog"
user = "posthouse"
lag_limit_mib = 10
audit = "repair"
audit_period_s = 90
[daemon]
topics = "apply"
topics_period_s = 7
"#;

#[test]
fn reads_former_names_with_warnings() {
    let config = parse(FORMER_NAMES).expect("former names are valid");
    let files = config.shards[0].replicas[0].files.clone().expect("files");
    let persons = config.persons.expect("persons");
    let postgres = persons.postgres.expect("a source");
    assert_eq!(config.clickhouse.timeout, Duration::from_secs(3));
    assert_eq!(files.user_scripts_path, Path::new("/base/scripts"));
    assert_eq!(files.functions_config_file, Path::new("/base/f.xml"));
    assert_eq!(config.kafka.topics_file, Path::new("/base/t.toml"));
    assert_eq!(config.events.poll_timeout, Duration::from_millis(250));
    assert_eq!(persons.flush_interval, Duration::from_millis(100));
    assert_eq!(postgres.max_slot_lag, 10 << 20);
    assert_eq!((postgres.audit, postgres.audit_interval), (AuditMode::Repair, Duration::from_secs(90)));
    let topics = TopicsSync { reconcile: Reconcile::Apply, interval: Duration::from_secs(7) };
    assert_eq!(config.topics, topics);
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    for wanted in [
        "line 3: clickhouse.timeout_s: is now clickhouse.timeout: write clickhouse.timeout = \"3s\"",
        "line 9: shards[1].replicas[1].user_scripts: is now shards[1].replicas[1].user_scripts_path",
        "line 24: persons.postgres.audit_period_s: is now persons.audit.interval: write persons.audit.interval = \"90s\"",
        "line 27: daemon.topics_period_s: is now topics.interval: write topics.interval = \"7s\"",
    ] {
        has(&warnings, wanted);
    }
    assert_eq!(warnings.len(), RENAMED.len(), "{warnings:#?}");
}

#[test]
fn refuses_a_key_under_both_names_and_an_invalid_value_under_the_former_one() {
    let text =
        format!("{SMALL}\ntopics_file = \"a.toml\"\ntopics = \"b.toml\"\n[daemon]\ntopics_period_s = 0\n");
    let faults = faults(&text);
    has(&faults, "line 12: kafka.topics: is the former name of kafka.topics_file, which is in the file too");
    has(&faults, "line 14: topics.interval = 0: give a duration from 1s to 24h in quotes");
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn refuses_an_audit_without_a_source() {
    has(
        &faults(&format!("{SMALL}\n[persons.audit]\nmode = \"off\"\n")),
        "persons.audit: needs [persons.postgres]",
    );
}

/// The report for people of the faults of `text`.
fn quoted(text: &str) -> String {
    match parse(text) {
        Err(ConfigError::Faulty { faults, .. }) => quote(None, &faults, QuoteStyle::Plain),
        other => panic!("faults were expected, not {other:?}"),
    }
}

#[test]
fn quotes_lines_with_the_faulty_value_marked() {
    let text = quoted(&SMALL.replace("9092", "nine").replace("[kafka]", "[kafka]\ntopcs_file = \"t\""));
    assert_eq!(
        text,
        r#"the configuration has 2 faults

error: line 9: kafka.topcs_file
 --> the configuration:9:1
  |
9 | topcs_file …
  | ^^^^^^^^^^ is an unknown key, did you mean topics_file?

error: line 10: kafka.brokers
  --> the configuration:10:11
   |
10 | brokers = ["127.0.0.1:nine"]
   |           ^^^^^^^^^^^^^^^^^^ item 1: give host:port, such as 127.0.0.1:9000 or [::1]:9000"#
    );
}

#[test]
fn quotes_the_heading_of_a_table_that_lacks_a_key() {
    let text = quoted(&SMALL.replace("address = \"127.0.0.1:9000\"\n", ""));
    assert!(
        text.contains("3 | [[shards.replicas]]\n  | ^^^^^^^^^^^^^^^^^^^ is required: add address = "),
        "{text}"
    );
    let empty = quoted("");
    assert!(empty.contains("error: line 1: shards: is required") && !empty.contains('|'), "{empty}");
}

#[test]
fn quotes_text_that_is_not_toml() {
    let text = quoted("cluster = \"a\nreplicated = yes\n[kafka\nbrokers = []\n");
    for line in ["1 | cluster = \"a\n", "2 | replicated = yes\n", "3 | [kafka\n"] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
}

#[test]
fn quotes_no_line_that_may_have_a_secret() {
    for text in [
        "clickhouse.password = \"hunter2\"",
        "clickhouse.pasword = \"hunter2\"",
        "clickhouse.pasword = hunter2",
        "clickhouse = { pasword = \"hunter2\", user = 5 }",
        "clickhouse = { user = 5, pasword = \"hunter2\" }",
        "clickhouse = { user = \"a\", pasword = hunter2 }",
        "clickhouse = { user: \"a\", pasword: \"hunter2\" }",
        "[clickhouse]\npasword = \"\"\"\nhunter2 \\q\n\"\"\"",
        "[clickhouse]\npasword = [\n\"hunter2\", ?\n]",
        "[clickhouse]\nuser = \"a\" pasword = \"hunter2\"",
        "[[shards]]\n[[shards.replicas]]\nurl = \"http://me:hunter2@host\"",
        "[clickhose]\npw = \"hunter2\"\npw = \"hunter2\"",
        "[[shards]]\n[[shards.replicas]]\nurl = \"http://host?password=hunter2\"",
        "[[shards]]\n[[shards.replicas]]\nurl = \"https://host/?sig=hunter2&X-Amz-Date=1\"",
        "[[shards]]\n[[shards.replicas]]\nurl = \"http://host#hunter2\"",
        "[[shards]]\nreplicas = [\"http://host?key=hunter2\"]",
        "kafka.brokers = [\"me:hunter2@host:9092\"]",
        "kafka.brokers = [\"host:9092?sasl.pass=hunter2\"]",
        "kafka.brokers = \"host:9092 access_key=hunter2\"",
        "kafka = \"Authorization: Bearer hunter2\"",
        "clickhouse.password_command = \"token --for hunter2\"",
        "clickhouse.password_command = [1, \"hunter2\"]",
        "clickhouse.tls.key_password_command = { hunter2 = 1 }",
        "clickhouse.password_file = 1 # was hunter2",
        "replicated = 1 # the admin's login is hunter2",
        "replicated = yes # the admin's login is hunter2",
        "clickhouse = { user = 5, server_profile = \"hunter2\" }",
        "kafka.brokers = [\"a:1\", 5] # hunter2",
        "clickhouse.user = [\"a\", \"\"\"\n-----BEGIN KEY-----\nhunter2\"\"\"]",
        "clickhouse.user = [\n\"hunter2\"\n]",
        "clickhouse.passphrase = \"hunter2\"",
        "clickhouse.passphrase = \"\"\"\nhunter2\n",
    ] {
        let shown = quoted(text);
        assert!(!shown.contains("hunter2"), "{text}: {shown}");
        assert!(shown.contains("error: line "), "{text}: {shown}");
    }
}

#[test]
fn quotes_no_endless_line() {
    let text = quoted(&format!("cluster = \"a b\" # {}", "x".repeat(2000)));
    assert!(text.contains("line 1: cluster = \"a b\": use letters") && !text.contains("xxx"), "{text}");
}

#[test]
fn colours_only_the_report_for_a_terminal() {
    let Err(ConfigError::Faulty { faults, .. }) = parse("replicated = 1") else { panic!("a fault") };
    assert!(quote(None, &faults, QuoteStyle::Coloured).contains('\u{1b}'));
    assert!(!quote(None, &faults, QuoteStyle::Plain).contains('\u{1b}'));
}

#[test]
fn reads_durations_and_sizes_as_people_write_them() {
    let persons = |audit: &str, lag: &str| {
        let text =
            format!("{SMALL_PERSONS}max_slot_lag = \"{lag}\"\n[persons.audit]\ninterval = \"{audit}\"\n");
        let config = parse(&[SMALL, &text].concat()).expect("valid values");
        let postgres = config.persons.and_then(|persons| persons.postgres).expect("a source");
        (postgres.audit_interval.as_secs(), postgres.max_slot_lag)
    };
    assert_eq!(persons("1h 30m", "512MiB"), (5_400, 512 << 20));
    assert_eq!(persons("7d", "1TiB"), (7 * 86_400, 1 << 40));
    assert_eq!(persons("90s", "10 GB"), (90, 10_000_000_000));
    for (key, wrong) in [("interval", "90"), ("interval", "0s"), ("interval", "32d"), ("interval", "-1h")] {
        let text = format!("{SMALL}{SMALL_PERSONS}[persons.audit]\n{key} = \"{wrong}\"\n");
        has(&faults(&text), "give a duration from 1s to 744h in quotes");
    }
    let text = format!("{SMALL}{SMALL_PERSONS}max_slot_lag = \"4 lots\"\n");
    has(&faults(&text), "give a size from 1.0 MiB to 16.0 TiB in quotes, such as \"4GiB\"");
}

#[test]
fn warns_of_a_file_that_all_users_can_write() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("posthouse.toml");
    std::fs::write(&path, SMALL).expect("a file");
    for (mode, warnings) in [(0o644, 0), (0o660, 0), (0o666, 1)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let config = Config::load(&path).expect("a config");
        assert_eq!(config.warnings.len(), warnings, "{mode:o}: {:?}", config.warnings);
    }
}

/// A config whose `[persons.postgres]` has these lines, in a folder with a few files.
fn with_postgres(lines: &str) -> Result<super::PostgresTls, String> {
    let text = format!("{SMALL}\n[persons.postgres]\n{lines}\n");
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::write(folder.path().join(name), "").expect("a file");
    }
    let config = Config::parse(&text, folder.path()).map_err(|error| error.to_string())?;
    let postgres = config.persons.and_then(|persons| persons.postgres).expect("a source");
    Ok(postgres.connection.tls)
}

#[test]
fn the_connection_of_postgres_is_read_with_libpqs_names() {
    use super::{SslMode, Verification};

    let login = "database = \"d\"\nuser = \"u\"\naddress = \"h:1\"\n";
    for (lines, mode, verification) in [
        ("", SslMode::Prefer, Verification::None),
        ("sslmode = \"require\"", SslMode::Require, Verification::None),
        ("sslrootcert = \"ca.pem\"", SslMode::Prefer, Verification::Authority),
        ("sslmode = \"require\"\nsslrootcert = \"ca.pem\"", SslMode::Require, Verification::Authority),
        ("sslmode = \"verify-ca\"\nsslrootcert = \"ca.pem\"", SslMode::VerifyCa, Verification::Authority),
        ("sslmode = \"verify-full\"\nsslrootcert = \"ca.pem\"", SslMode::VerifyFull, Verification::Full),
        ("sslrootcert = \"system\"", SslMode::VerifyFull, Verification::Full),
    ] {
        let tls = with_postgres(&format!("{login}{lines}")).expect(lines);
        assert_eq!((tls.mode, tls.tls().verification), (mode, verification), "{lines}");
    }
    let url = "url = \"postgresql://u@h1,h2:2/d?sslmode=verify-full&sslrootcert=ca.pem\"";
    assert_eq!(with_postgres(url).expect("a URL").mode, SslMode::VerifyFull);
}

#[test]
fn faults_of_the_connection_of_postgres_are_reported_together() {
    let lines = "url = \"postgresql://u:s3cret@h/d?sslmod=require\"\naddress = \"h:1\"\nuser = \"u\"\n\
        sslmode = \"allow\"\nsslcert = \"client.pem\"\nchannel_binding = \"always\"\nsslrootcert = \"none.pem\"";
    let faults = with_postgres(lines).expect_err("faults");
    for words in [
        "persons.postgres.url: has a password",
        "did you mean sslmode?",
        "give \"disable\" or \"prefer\" or \"require\" or \"verify-ca\" or \"verify-full\"",
        "persons.postgres.sslcert",
        "needs sslkey",
        "give \"disable\" or \"prefer\" or \"require\"",
        "none.pem",
    ] {
        assert!(faults.contains(words), "{words}: {faults}");
    }
    assert!(!faults.contains("s3cret") && !faults.contains("is an unknown key"), "{faults}");
    for (lines, words) in [
        ("address = \"h:1\"\naddresses = [\"h:2\"]", "names hosts, and so does address"),
        ("addresses = [\"h:1\"]\nurl = \"postgresql://h2\"", "names hosts, and so does addresses"),
        ("url = \"postgresql://h\"\naddress = \"h:1\"", "names hosts, and so does address"),
        ("url = \"postgresql://h?sslmode=require\"\nsslmode = \"require\"", "is in url too"),
        ("address = \"h:1\"\nsslmode = \"verify-full\"", "needs sslrootcert"),
        ("address = \"h:1\"\nsslmode = \"require\"\nsslrootcert = \"system\"", "is too weak"),
        ("address = \"h:1\"\nsslmode = \"disable\"\nchannel_binding = \"require\"", "needs TLS"),
        ("address = \"h:0\"", "give host:port"),
        ("address = \"/run:x\"", "give the folder of a socket"),
        ("addresses = []", "at least one item"),
        ("", "address: is required: add address = \"127.0.0.1:5432\""),
    ] {
        let faults = with_postgres(&format!("database = \"d\"\nuser = \"u\"\n{lines}")).expect_err(lines);
        assert!(faults.contains(words), "{lines}: {faults}");
    }
}

/// Faults, or else warnings, of a config with this Kafka section.
fn kafka(text: &str) -> (Option<Config>, Vec<String>) {
    let text = SMALL.replace("[kafka]\nbrokers = [\"127.0.0.1:9092\"]", &format!("[kafka]\n{text}"));
    match parse(&text) {
        Ok(config) => {
            let warnings = config.warnings.iter().map(ToString::to_string).collect();
            (Some(config), warnings)
        }
        Err(ConfigError::Faulty { faults, .. }) => (None, faults.iter().map(ToString::to_string).collect()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn login_and_tls_decide_about_the_protocol_of_kafka() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret").expect("a secret");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    let secret = secret.display();
    let (loopback, remote) = ("brokers = [\"127.0.0.1:1\"]\n", "brokers = [\"127.0.0.1:1\", \"far:1\"]\n");
    let password = format!("user = \"eve\"\npassword_file = \"{secret}\"\n");
    let token = format!("mechanism = \"OAUTHBEARER\"\ntoken_file = \"{secret}\"\n");
    for (text, protocol, mechanism, warning) in [
        (loopback.to_owned(), "PLAINTEXT", None, None),
        (format!("{remote}[kafka.tls]"), "SSL", None, None),
        (format!("{loopback}{password}"), "SASL_PLAINTEXT", Some(Mechanism::Plain), None),
        (
            format!("{remote}{password}"),
            "SASL_PLAINTEXT",
            Some(Mechanism::Plain),
            Some("between posthouse and far"),
        ),
        (
            format!("{remote}{password}mechanism = \"SCRAM-SHA-256\"\n"),
            "SASL_PLAINTEXT",
            Some(Mechanism::ScramSha256),
            Some("guessed"),
        ),
        (
            format!("{remote}{token}"),
            "SASL_PLAINTEXT",
            Some(Mechanism::OauthBearer),
            Some("the token can be read"),
        ),
        (format!("{remote}{token}[kafka.tls]\n"), "SASL_SSL", Some(Mechanism::OauthBearer), None),
        (
            format!("{remote}[kafka.tls]\ninsecure_skip_verify = true\n"),
            "SSL",
            None,
            Some("insecure_skip_verify"),
        ),
    ] {
        let (config, said) = kafka(&text);
        let access = config.unwrap_or_else(|| panic!("{text}: {said:?}")).kafka.access;
        assert_eq!(access.protocol(), protocol, "{text}");
        assert_eq!(access.login.map(|login| login.mechanism), mechanism, "{text}");
        match warning {
            None => assert_eq!(said, Vec::<String>::new(), "{text}"),
            Some(warning) => has(&said, warning),
        }
    }
    for (text, fault) in [
        (format!("{password}mechanism = \"GSSAPI\"\n"), "\"SCRAM-SHA-512\""),
        ("mechanism = \"OAUTHBEARER\"\n".to_owned(), "has no token"),
        ("mechanism = \"SCRAM-SHA-256\"\n".to_owned(), "has no user"),
        ("user = \"eve\"\n".to_owned(), "has no password"),
        (format!("{token}user = \"eve\"\n"), "the token names the user"),
        (format!("{token}password_file = \"{secret}\"\n"), "is not used with mechanism OAUTHBEARER"),
        (format!("{password}token_file = \"{secret}\"\n"), "is not used with mechanism PLAIN"),
        ("[kafka.tls]\nserver_name = \"b\"\n".to_owned(), "each broker has its own name"),
        ("[kafka.tls]\nkey_file = \"k.pem\"\n".to_owned(), "certificate_file"),
    ] {
        let (config, said) = kafka(&format!("{loopback}{text}"));
        assert_eq!(config, None, "{text}");
        has(&said, fault);
        assert!(said.iter().all(|said| !said.contains("s3cret")), "{said:?}");
    }
}

#[test]
fn names_that_could_end_a_literal_of_sql_are_refused() {
    for hostile in ["'", "\\\"", "`", "\\\\", "\\n", "{{ x }}", "a,b", "a b", "$", "(", ";"] {
        let (config, said) = kafka(&format!("brokers = [\"a{hostile}:9092\"]"));
        assert_eq!(config, None, "broker {hostile}: {said:?}");
    }
    for hostile in ["'", "\\\"", "`", "\\\\", "\\n", "{{ x }}", "a,b"] {
        let text = format!("{SMALL}[events]\ntopic = \"a{hostile}\"\n");
        assert!(parse(&text).is_err(), "topic {hostile}");
    }
    for hostile in ["'", "\\\"", "`", "\\\\", "\\n"] {
        let text = format!("{SMALL}[events]\ngroup = \"a{hostile}\"\n");
        assert!(parse(&text).is_err(), "group {hostile}");
        let text = format!("{SMALL}[events]\nkeeper_path = \"/a{hostile}\"\n");
        assert!(parse(&text).is_err(), "path {hostile}");
    }
}
