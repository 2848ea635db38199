//! The functions compared with the server's own and with Kafka.
//!
//! Input is random and hostile. Wrong calls, upgrades under load and the death of the server are
//! covered too.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use posthouse_tests::site::{Site, binary};
use posthouse_tests::stack::{Progress, Stack, StackSpec, wait_until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::produce::partitions_of;
use crate::schema::json;
use crate::seed;

tests! {
    Single the_person_rule_is_that_of_our_sql,
    Single fingerprints_are_sip_hashes_of_the_five_columns,
    Single partitions_are_those_that_kafka_picks,
    Single a_move_is_two_shards_in_blocks_of_any_size,
    Single wrong_questions_are_errors_and_the_pool_goes_on,
    Single nulls_are_refused_and_nullable_columns_answered,
    Single a_rolling_upgrade_under_queries_loses_none,
    Own processes_end_with_their_server,
}

fn the_person_rule_is_that_of_our_sql(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN few versions, so that most are ties, and ids that share halves, so that their order
    // matters
    site.must(&["udf", "install"])?;
    // WHEN function and SQL choose THEN they agree on every id
    let answer = site.query(&person_question(seed(site.name())?))?;
    ensure!(answer == PERSON_ANSWER, "{answer}");
    // THEN an empty list of versions has no person
    let nobody = site.query(
        "SELECT personLatest([]::Array(Int64), []::Array(UUID), []::Array(UInt8)), \
         personIsLive([]::Array(Int64), []::Array(UUID), []::Array(UInt8))",
    )?;
    ensure!(nobody == "\\N\t0", "{nobody}");
    Ok(())
}

/// Counts the ids for which the person functions differ from the SQL, one count per function. Also
/// whether there are ids of either kind.
pub(crate) fn person_question(seed: u64) -> String {
    let random = |salt: u32| format!("sipHash64({seed}, number, {salt})");
    let id = format!(
        "toUUID(concat('0000000', toString({} % 3), '-0000-0000-0000-00000000000', toString({} % 3)))",
        random(1),
        random(2)
    );
    let rows = format!(
        "SELECT {} % 20000 AS id, toInt64({} % 5) - 2 AS version, {id} AS person_id, {} % 4 = 0 AS is_deleted, \
         (version, is_deleted, person_id) AS latest FROM numbers(60000)",
        random(3),
        random(4),
        random(5)
    );
    format!(
        "SELECT countIf(ifNull(toString(person), '') != expected), countIf(live != (expected != '')), \
         countIf(expected = '') > 100, countIf(expected != '') > 100 FROM (\
         SELECT personLatest(groupArray(version), groupArray(person_id), groupArray(is_deleted)) AS person, \
         personIsLive(groupArray(version), groupArray(person_id), groupArray(is_deleted)) AS live, \
         if(argMax(is_deleted, latest), '', toString(argMax(person_id, latest))) AS expected \
         FROM ({rows}) GROUP BY id)"
    )
}

/// The correct result of [`person_question`].
pub(crate) const PERSON_ANSWER: &str = "0\t0\t1\t1";

fn fingerprints_are_sip_hashes_of_the_five_columns(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN events of random bytes
    site.must(&["udf", "install"])?;
    // WHEN the server hashes the same bytes THEN all digits are equal except version and variant
    let answer = site.query(&fingerprint_question(seed(site.name())?))?;
    ensure!(answer == FINGERPRINT_ANSWER, "{answer}");
    Ok(())
}

/// Counts random events, their fingerprints, and the fingerprints that differ from the server's
/// hash.
pub(crate) fn fingerprint_question(seed: u64) -> String {
    let events = format!(
        "SELECT toInt64(sipHash64({seed}, number)) AS team_id, reinterpretAsUUID(sipHash128({seed}, number)) AS uuid, \
         substring(sipHash128({seed}, number, 1), 1, number % 17) AS event, \
         repeat(char(number % 256), number % 700) AS distinct_id, \
         fromUnixTimestamp64Micro(toInt64(sipHash64({seed}, number, 2) % 4000000000000000) - 1000000000000000, 'UTC') AS timestamp \
         FROM numbers(50000)"
    );
    let text = |column: &str| format!("reinterpretAsFixedString(toUInt64(length({column}))), {column}");
    format!(
        "SELECT count(), uniqExact(print), \
         countIf(concat(substring(ours, 1, 12), substring(ours, 14, 3), substring(ours, 18)) \
         != concat(substring(theirs, 1, 12), substring(theirs, 14, 3), substring(theirs, 18))), \
         countIf(substring(ours, 13, 1) != '8' OR substring(ours, 17, 1) NOT IN ('8', '9', 'A', 'B')) FROM (\
         SELECT eventFingerprint(team_id, uuid, event, distinct_id, timestamp) AS print, \
         upper(replaceAll(toString(print), '-', '')) AS ours, \
         hex(sipHash128Reference(concat(reinterpretAsFixedString(team_id), unhex(replaceAll(toString(uuid), '-', '')), \
         reinterpretAsFixedString(toUnixTimestamp64Micro(timestamp)), {}, {}))) AS theirs FROM ({events}))",
        text("event"),
        text("distinct_id")
    )
}

/// The correct result of [`fingerprint_question`].
pub(crate) const FINGERPRINT_ANSWER: &str = "50000\t50000\t0\t0";

fn partitions_are_those_that_kafka_picks(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a topic of seven partitions and keys of every length, produced as by the Java client
    site.must(&["udf", "install"])?;
    site.write_topics(7)?;
    site.must(&["topics", "apply"])?;
    let mut random = StdRng::seed_from_u64(seed(site.name())?);
    let keys: Vec<Vec<u8>> = (1..1500_usize)
        .map(|number| {
            let mut key = vec![0; number % 40 + 1];
            random.fill_bytes(&mut key);
            key
        })
        .collect();
    let picked = partitions_of(site, &keys)?;
    ensure!(picked.len() == keys.len() && picked.iter().any(|(_, partition)| *partition == 6));
    // WHEN the function picks partitions THEN it picks the same
    let values: Vec<String> = picked
        .iter()
        .map(|(key, partition)| {
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("('{hex}', {partition})")
        })
        .collect();
    let answer = site.query(&format!(
        "SELECT count(), countIf(kafkaPartition(unhex(key), 7) != picked) FROM values('key String, picked UInt32', {})",
        values.join(", ")
    ))?;
    ensure!(answer == format!("{}\t0", keys.len()), "{answer}");
    Ok(())
}

fn a_move_is_two_shards_in_blocks_of_any_size(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN blocks of no, one, and more rows than a usual block, and many small ones through one
    // process
    site.must(&["udf", "install"])?;
    for (rows, block) in [(0, 65_409), (1, 65_409), (65_537, 65_537), (1_000, 1), (100_000, 777)] {
        for (old, new) in [("[1, 3]", "[1, 3, 2]"), ("[number % 3, 1]", "[5, 0, number % 2]")] {
            // WHEN moves are computed THEN they are the shards before and after
            let answer = site.query(&format!(
                "SELECT count(), countIf(shardMove(id, {old}, {new}) != (shardOf(id, {old}), shardOf(id, {new}))) \
                 FROM (SELECT number, repeat(toString(number), number % 9) AS id FROM numbers({rows})) \
                 SETTINGS max_block_size = {block}, max_threads = 1"
            ))?;
            ensure!(answer == format!("{rows}\t0"), "{rows} rows in blocks of {block}: {answer}");
        }
    }
    // WHEN values are a mebibyte each THEN the result is correct too
    let long = "repeat(repeat(char(number + 33), 1024), 1024)";
    let answer = site.query(&format!(
        "SELECT countIf(shardMove({long}, [1, 3], [1]).1 != shardOf({long}, [1, 3])), \
         uniqExact(eventFingerprint(1, toUUID('00000000-0000-0000-0000-000000000000'), {long}, {long}, toDateTime64(0, 6))) \
         FROM numbers(20)"
    ))?;
    ensure!(answer == "0\t20", "{answer}");
    Ok(())
}

/// The XML of a function that runs one of posthouse's programs with other argument types.
fn declaration(name: &str, command: &str, arguments: &[(&str, &str)]) -> String {
    let arguments: String = arguments
        .iter()
        .map(|(name, data_type)| format!("<argument><name>{name}</name><type>{data_type}</type></argument>"))
        .collect();
    format!(
        "<function><name>{name}</name><type>executable_pool</type><command>{command}</command>\
         <execute_direct>1</execute_direct><format>Native</format><return_type>UInt64</return_type>{arguments}\
         <stderr_reaction>throw</stderr_reaction><lifetime>0</lifetime></function>"
    )
}

fn wrong_questions_are_errors_and_the_pool_goes_on(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN posthouse's functions, and declarations that don't match them
    let installed = json(&site.must(&["udf", "install", "--json"])?)?;
    let release = installed[0]["release"].as_str().context("a release")?;
    let program = |function: &str| format!("{release}/posthouse-udf {function}");
    let wrong = [
        declaration("wrongType", &program("shardKey"), &[("distinct_id", "UInt64")]),
        declaration("wrongName", &program("shardKey"), &[("id", "String")]),
        declaration("wrongCount", &program("shardOf"), &[("distinct_id", "String")]),
        declaration("wrongFormat", &program("shardKey"), &[("distinct_id", "String")])
            .replace("Native", "RowBinary"),
    ];
    let node = &site.stack.nodes()[0];
    let file = node.functions_xml().with_file_name("wrong.xml");
    std::fs::write(&file, format!("<functions>{}</functions>", wrong.concat()))?;
    node.query("SYSTEM RELOAD FUNCTIONS")?;
    let asked = ask_wrongly(site);
    std::fs::remove_file(&file)?;
    node.query("SYSTEM RELOAD FUNCTIONS")?;
    asked
}

fn ask_wrongly(site: &Site<'_>) -> anyhow::Result<()> {
    let uuids = "[generateUUIDv4(), generateUUIDv4()]";
    let questions: BTreeMap<String, &str> = [
        ("wrongType(1)".to_owned(), "type of column 1: expected String, found UInt64"),
        ("wrongName('a')".to_owned(), "name of column 1: expected distinct_id, found id"),
        ("wrongCount('a')".to_owned(), "expected 2 columns, found 1"),
        // A row of five letters without a header. Native reads it as five columns.
        ("wrongFormat('abcde')".to_owned(), "expected 1 columns, found 5"),
        ("kafkaPartition('a', 0)".to_owned(), "row 1, column partitions: 0 partitions"),
        ("shardMove('a', [1], [0, 0])".to_owned(), "row 1, column to: all 2 weights are 0"),
        // The server converts to the declared type, and refuses values out of range.
        ("shardOf('a', [-1])".to_owned(), "cannot be safely converted into type UInt32"),
        (format!("personLatest([1], {uuids}, [0, 1])"), "1 versions, 2 person ids and 2 deletion flags"),
        (
            format!("personIsLive([1, 2], {uuids}, [0])"),
            "row 1, column versions: 2 versions, 2 person ids and 1",
        ),
    ]
    .into();
    for _ in 0..3 {
        for (question, reason) in &questions {
            // WHEN a call is wrong THEN the query fails and names the reason
            let refused = site.query(&format!("SELECT {question}"));
            let Err(error) = refused else { bail!("{question} answered {}", refused?) };
            let text = format!("{error:#}");
            ensure!(text.contains(reason), "{question}: no {reason:?} in {text}");
        }
        // THEN correct calls still succeed
        let answer = site.query("SELECT shardKey('user-1'), kafkaPartition('abc', 10)")?;
        ensure!(answer == "5730124816541986630\t7", "{answer}");
    }
    Ok(())
}

fn nulls_are_refused_and_nullable_columns_answered(site: &mut Site<'_>) -> anyhow::Result<()> {
    site.must(&["udf", "install"])?;
    let uuids = "[toUUID('00000000-0000-0000-0000-000000000001')]";
    let event =
        |team: &str, id: &str| format!("eventFingerprint({team}, {uuids}[1], 'a', {id}, toDateTime64(0, 6))");
    // WHEN an argument is NULL, as a constant or in one row THEN the server reports it, without a
    // call of the function
    for call in [
        "shardKey(NULL)".to_owned(),
        "shardKey(if(number = 1, NULL, 'a'))".to_owned(),
        "shardOf(NULL, [1])".to_owned(),
        "shardOf('a', NULL)".to_owned(),
        "shardOf('a', [1, NULL])".to_owned(),
        "shardMove(if(number = 1, NULL, 'a'), [1], [1])".to_owned(),
        "kafkaPartition('a', if(number = 1, NULL, 3))".to_owned(),
        event("NULL", "'b'"),
        event("1", "if(number = 1, NULL, 'b')"),
        format!("personLatest([NULL], {uuids}, [0])"),
        "personIsLive([1], [NULL], [0])".to_owned(),
    ] {
        let refused = site.query(&format!("SELECT {call} FROM numbers(3)"));
        let Err(error) = refused else { bail!("{call} answered {}", refused?) };
        let text = format!("{error:#}");
        ensure!(text.contains("Code: 70") || text.contains("Code: 349"), "{call}: {text}");
    }
    // WHEN a Nullable column has no NULL THEN the call succeeds, with a result type that is not
    // Nullable
    let nullable = "materialize(toNullable(concat('user-', toString(number))))";
    let answer = site.query(&format!(
        "SELECT countIf(shardKey({nullable}) != sipHash64(concat('user-', toString(number)))), \
         any(toTypeName(shardKey({nullable}))) FROM numbers(1000)"
    ))?;
    ensure!(answer == "0\tUInt64", "{answer}");
    Ok(())
}

fn a_rolling_upgrade_under_queries_loses_none(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two builds of the program, and queries on every node without a pause
    site.must(&["udf", "install"])?;
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("posthouse-udf");
    let mut bytes = std::fs::read(binary("posthouse-udf")?)?;
    bytes.push(0);
    std::fs::write(&other, bytes)?;
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let done = AtomicBool::new(false);
    let site = &*site;
    let ask = |node: usize| -> anyhow::Result<u32> {
        let mut asked = 0;
        while !done.load(Ordering::Relaxed) {
            let sql = "SELECT countIf(shardKey(toString(number)) != sipHash64(toString(number))) FROM numbers(200000)";
            let answer = site.query_on(node, sql)?;
            ensure!(answer == "0", "node {node}: {answer}");
            asked += 1;
        }
        Ok(asked)
    };
    // WHEN the builds are installed in turn, several times
    let upgrade = || -> anyhow::Result<()> {
        for _ in 0..4 {
            site.must(&["udf", "install", "--binary", &other.to_string_lossy()])?;
            site.must(&["udf", "install"])?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let askers: Vec<_> =
            (0..site.stack.nodes().len()).map(|node| scope.spawn(move || ask(node))).collect();
        let upgraded = upgrade();
        done.store(true, Ordering::Relaxed);
        // THEN every query succeeded with a correct result
        for asker in askers {
            let asked = asker.join().map_err(|_| anyhow!("an asking thread panicked"))??;
            ensure!(asked > 3, "only {asked} queries were asked meanwhile");
        }
        upgraded
    })
}

fn processes_end_with_their_server() -> anyhow::Result<()> {
    // GIVEN a node that has started processes
    let stack = Stack::start(StackSpec::sharded(&[1]), &Progress::Silent)?;
    let site = Site::new(&stack, "orphans")?;
    site.must(&["udf", "install"])?;
    site.query("SELECT count(shardKey(toString(number))) FROM numbers_mt(1000000)")?;
    let node = &stack.nodes()[0];
    let programs = node.user_scripts().to_string_lossy().into_owned();
    ensure!(!running(&programs)?.is_empty(), "no process of ours runs");
    // WHEN the server is killed THEN they end without a signal
    node.kill();
    wait_until("the end of every process", Duration::from_secs(10), || match running(&programs) {
        Ok(left) if left.is_empty() => ControlFlow::Break(Ok(())),
        Ok(left) => ControlFlow::Continue(anyhow!("{left:?} still run")),
        Err(error) => ControlFlow::Break(Err(error)),
    })
}

/// The running programs below `folder`.
fn running(folder: &str) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    let programs = entries.filter_map(|entry| std::fs::read_link(entry.path().join("exe")).ok());
    let programs = programs.map(|program| program.to_string_lossy().into_owned());
    Ok(programs.filter(|program| program.starts_with(folder)).collect())
}
