//! Tests of the rendered statements.

mod hostile;

use std::fmt::Write;
use std::path::Path;

use super::*;

const CLUSTER: &str = "kafka.brokers = [\"b:1\"]\n[[shards]]\nweight = 1\n\
    [[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\naddress = \"a:9000\"\n\
    [[shards.replicas]]\nname = \"b\"\nurl = \"http://b:8123\"\naddress = \"b:9000\"\n";

/// Returns the statements of every node.
fn rendered(config: &str) -> Vec<Vec<Statement>> {
    let config = Config::parse(config, Path::new("")).expect("a config");
    let nodes = Node::all(&config).expect("nodes");
    nodes.iter().map(|node| render(&config, node).expect("renders")).collect()
}

const ONE_NODE: &str = "kafka.brokers = [\"b:1\"]\n[[shards]]\nweight = 1\n\
    [[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\naddress = \"a:9000\"\n[persons]\n";

/// Snapshots of all statements of a node, below `tests/fixtures/schema`, with the lines that their
/// configs add at the start, and in `[persons]`.
const SNAPSHOTS: &[(&str, &str, &str)] = &[
    ("core.sql", "", ""),
    ("core_replicated.sql", "replicated = true\n", ""),
    ("posthog.sql", "events.profile = \"posthog\"\n", ""),
    ("posthog_replicated.sql", "replicated = true\nevents.profile = \"posthog\"\n", ""),
    (
        "lookup.sql",
        "events.profile = \"posthog\"\nevents.views_skip_unused_shards = true\n",
        "lookup = \"function\"\n",
    ),
    ("person_key.sql", "events.person_key = true\n", "lookup = \"function\"\n"),
    (
        "own.sql",
        "events.columns = [{ name = \"a b\", type = \"LowCardinality(Nullable(UInt8))\" }, { name = \"_partition\", type = \"UInt32\", value = \"partition\" }, { name = \"score\", type = \"Float64\", path = [\"context\", \"score\"] }, { name = \"ok\", type = \"Bool\", path = [\"context\", \"ok\"], index = \"minmax\" }, { name = \"tags\", type = \"Array(String)\", codec = \"ZSTD(3)\" }, { name = \"labels\", type = \"Map(String, String)\" }, { name = \"mode\", type = \"Nullable(Enum8('x' = 1))\", invalid = \"default\" }, { name = \"price\", type = \"Decimal(9, 2)\" }]\nevents.materialized = [{ name = \"mat_$browser\", property = \"$browser\", comment = \"column_materializer::$browser\" }, { name = \"length\", type = \"UInt64\", expression = \"length(properties)\", index = \"minmax\" }]\n",
        "",
    ),
];

#[test]
fn the_statements_are_those_of_the_snapshots() {
    for (name, text, of_persons) in SNAPSHOTS {
        let nodes = rendered(&format!("{text}{ONE_NODE}{of_persons}"));
        let found: String = nodes[0].iter().map(|statement| format!("{};\n\n", statement.sql)).collect();
        compare(name, &found);
    }
}

/// Compares a text with its snapshot, or writes it.
fn compare(name: &str, found: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/schema");
    let path = folder.join(name);
    if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, found)).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("a snapshot");
    let same = found.lines().zip(kept.lines()).position(|(found, kept)| found != kept);
    assert!(
        found == kept,
        "{name} differs from line {:?}: POSTHOUSE_WRITE_DOCS=1 writes it",
        same.map(|at| at + 1)
    );
}

/// Two shards and a node without data.
const THREE_NODES: &str = "kafka.brokers = [\"b:1\"]\n\
    [[shards]]\n[[shards.replicas]]\nname = \"a\"\nurl = \"http://a:8123\"\naddress = \"a:9000\"\n\
    [[shards]]\n[[shards.replicas]]\nname = \"b\"\nurl = \"http://b:8123\"\naddress = \"b:9000\"\nroles = [\"data\"]\n\
    [[ingest_nodes]]\nname = \"c\"\nurl = \"http://c:8123\"\n[persons]\n";

const HEADS: [&str; 4] = [
    "",
    "replicated = true\n",
    "events.profile = \"posthog\"\n",
    "replicated = true\nevents.profile = \"posthog\"\n",
];

/// The objects of each node, by profile and replication; `a` ingests or does not. Their statements
/// are those of a node of that name with both roles.
#[test]
fn the_objects_of_each_role_are_those_of_the_snapshot() {
    let only_apart =
        THREE_NODES.replacen("address = \"a:9000\"", "address = \"a:9000\"\nroles = [\"data\"]", 1);
    let mut found = String::new();
    for (head, text) in HEADS.iter().flat_map(|head| [(head, THREE_NODES), (head, only_apart.as_str())]) {
        let config = Config::parse(&format!("{head}{text}"), Path::new("")).expect("a config");
        for node in Node::all(&config).expect("nodes") {
            let with_both = ONE_NODE.replace("name = \"a\"", &format!("name = {:?}", node.name));
            let whole = rendered(&format!("{head}{with_both}")).concat();
            let profile = if head.contains("profile") { "posthog" } else { "core" };
            let _ = writeln!(
                found,
                "-- {profile}, {}, {} {:?}",
                if config.replicated { "replicated" } else { "not replicated" },
                node.name,
                node.roles
            );
            let statements = render(&config, &node).expect("renders").into_iter();
            for statement in statements.filter(|statement| statement.object.is_desired(&config, &node)) {
                assert!(whole.contains(&statement), "{statement:?}");
                let _ = writeln!(found, "{}", statement.object.name);
            }
            found.push('\n');
        }
    }
    compare("roles.txt", &found);
}

fn sql<'s>(statements: &'s [Statement], name: &str) -> &'s str {
    statements.iter().find(|statement| statement.object.name == name).map_or("", |found| &found.sql)
}

#[test]
fn without_persons_nothing_reads_their_topics() {
    let nodes = rendered(&format!("replicated = true\n{CLUSTER}"));
    assert!(nodes.iter().flatten().all(|statement| !statement.object.name.contains("person")));
}

#[test]
fn replicas_share_the_groups_and_the_path_of_persons() {
    let nodes = rendered(&format!("replicated = true\n{CLUSTER}[persons]\n"));
    for node in &nodes {
        assert!(sql(node, "kafka_person").contains("kafka_group_name = 'clickhouse_persons'"));
        let path = "('/clickhouse/tables/noshard/posthog.person', '{shard}-{replica}', version)";
        assert!(sql(node, "person").contains(path), "{}", sql(node, "person"));
    }
}

#[test]
fn tables_that_are_not_replicated_have_a_group_for_each_node_and_topic() {
    let text = CLUSTER.replacen(
        "[[shards.replicas]]\nname = \"b\"",
        "[[shards]]\nweight = 1\n[[shards.replicas]]\nname = \"b\"",
        1,
    );
    let nodes = rendered(&format!("{text}[persons]\ngroup = \"g\"\n"));
    for (node, name) in nodes.iter().zip(["a", "b"]) {
        assert!(sql(node, "kafka_person").contains(&format!("kafka_group_name = 'g_{name}'")));
        let group = format!("kafka_group_name = 'g_distinct_id_{name}'");
        assert!(sql(node, "kafka_person_distinct_id").contains(&group));
    }
}
