//! Installation, checks and removal of the functions by `posthouse udf`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use posthouse_tests::load::Load;
use posthouse_tests::site::{Site, binary};
use posthouse_tests::stack::{Node, Progress, Stack, StackSpec};

use crate::events::PROFILE;
use crate::produce::consumed;
use crate::schema::json;
use crate::seed;

tests! {
    Single functions_are_missed_installed_and_proven,
    Single the_key_is_that_of_the_server_for_any_bytes,
    Single every_event_is_on_the_shard_that_the_function_names,
    Single installed_functions_are_listed_uninstalled_and_installed_again,
    Single the_previous_release_is_kept_and_older_ones_go,
    Own nodes_that_share_a_folder_keep_what_each_of_them_ran,
    Single a_functions_file_of_somebody_else_is_refused,
    Single programs_stay_while_another_file_names_them,
    Single wrong_weights_are_an_error_that_names_the_row_and_the_pool_goes_on,
}

fn functions_are_missed_installed_and_proven(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes without functions
    for node in site.stack.nodes() {
        let _ = std::fs::remove_file(node.functions_xml());
        node.query("SYSTEM RELOAD FUNCTIONS")?;
    }
    // WHEN they are checked THEN every missing function is named with its node
    let missing = site.posthouse(&["udf", "check"])?;
    ensure!(missing.code == 3, "{missing}");
    for node in ["ch1", "ch2"] {
        for function in ["shardKey", "shardOf"] {
            ensure!(missing.stdout.contains(&format!("node {node} has no function {function}")), "{missing}");
        }
    }
    // WHEN they are installed THEN they are written on both nodes, and correct
    let installed = json(&site.must(&["udf", "install", "--json"])?)?;
    ensure!(installed.as_array().map(Vec::len) == Some(2), "{installed:#}");
    for node in installed.as_array().context("a list")? {
        ensure!(node["functions"] == "written", "{installed:#}");
    }
    let checked = json(&site.must(&["udf", "check", "--json"])?)?;
    for node in checked["nodes"].as_array().context("a list")? {
        let compared = node["compared"].as_array().context("a list")?;
        ensure!(compared.len() > 3 && compared[0]["weights"] == serde_json::json!([1, 3]), "{node:#}");
        for compared in compared {
            let counts =
                ["rows", "not_utf8", "differing"].map(|key| compared[key].as_u64().unwrap_or_default());
            ensure!(counts[0] == 100_000 && counts[1] > 10_000 && counts[2] == 0, "{compared:#}");
        }
    }
    // WHEN they are installed a second time THEN no file changes
    let again = json(&site.must(&["udf", "install", "--json"])?)?;
    for node in again.as_array().context("a list")? {
        ensure!(node["program"] == "unchanged" && node["functions"] == "unchanged", "{again:#}");
    }
    Ok(())
}

fn the_key_is_that_of_the_server_for_any_bytes(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes with functions, and ids of every kind
    site.must(&["udf", "install"])?;
    let seed = seed(site.name())?;
    for (what, ids) in nasty_ids(seed) {
        // WHEN function and server hash them THEN they agree on every row
        let answer = site.query(&format!(
            "SELECT countIf(shardKey(id) != sipHash64(id)), \
             countIf(shardOf(id, [1, 3]) != if(sipHash64(id) % 4 < 1, 1, 2)) FROM ({ids})"
        ))?;
        ensure!(answer == "0\t0", "{what}: {answer} rows differ");
    }
    Ok(())
}

/// Queries for distinct ids that may break a function, by name.
pub(crate) fn nasty_ids(seed: u64) -> Vec<(&'static str, String)> {
    let bytes = format!("arrayMap(i -> char(sipHash64({seed}, number, i) % 256), range(number % 80))");
    vec![
        ("an empty one", "SELECT '' AS id".to_owned()),
        ("no row", "SELECT '' AS id WHERE 0".to_owned()),
        ("one row", "SELECT toString(number) AS id FROM numbers(1)".to_owned()),
        (
            "odd bytes",
            "SELECT unhex(arrayJoin(['FF', 'FFFE00', 'C328', 'EDA080', '00', '0000'])) AS id".to_owned(),
        ),
        ("zeros", "SELECT repeat('\\0', number % 130) AS id FROM numbers(1000)".to_owned()),
        ("a mebibyte", "SELECT repeat(repeat(char(number), 1024), 1024) AS id FROM numbers(40)".to_owned()),
        (
            "many of each length",
            format!(
                "SELECT substring(repeat(hex(sipHash128({seed}, number)), 5), 1, intDiv(number, 50) % 140) AS id FROM numbers(20000)"
            ),
        ),
        ("all lengths and bytes", format!("SELECT arrayStringConcat({bytes}) AS id FROM numbers(20000)")),
        (
            "a block of 65,537 rows",
            "SELECT toString(number) AS id FROM numbers(65537) SETTINGS max_block_size = 65537".to_owned(),
        ),
        (
            "blocks of one row",
            "SELECT toString(number) AS id FROM numbers(2000) SETTINGS max_block_size = 1, max_threads = 1"
                .to_owned(),
        ),
        ("many blocks", "SELECT toString(number) AS id FROM numbers(1000000)".to_owned()),
    ]
}

fn every_event_is_on_the_shard_that_the_function_names(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes with functions, and events from Kafka
    site.apply()?;
    site.must(&["udf", "install"])?;
    let load = Load::start(&site.brokers(), site.name(), PROFILE, seed(site.name())?, 20_000, 20_000)?;
    let produced = load.wait()?;
    consumed(site)?;
    // WHEN every row's shard is computed by the function THEN the row is stored there
    for node in 0..site.stack.nodes().len() {
        let answer = site.query_on(
            node,
            "SELECT count(), uniqExact(_shard_num), countIf(shardOf(distinct_id, [1, 3]) != _shard_num) \
             FROM {db}.events",
        )?;
        ensure!(answer == format!("{}\t2\t0", produced.events), "node {node}: {answer} of {produced:?}");
    }
    Ok(())
}

/// A call that succeeds only on a node with posthouse's functions.
const CALL: &str = "SELECT shardKey('user-2') = sipHash64('user-2')";

fn installed_functions_are_listed_uninstalled_and_installed_again(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN nodes without a release, and the list shows this
    site.must(&["udf", "uninstall"])?;
    let empty = site.must(&["udf", "list"])?;
    ensure!(empty.stdout.contains("node ch2 has no release: run posthouse udf install"), "{empty}");
    // WHEN the functions are installed THEN the list shows the release as running on all nodes
    let installed = json(&site.must(&["udf", "install", "--json"])?)?;
    let release = text(&installed[0]["release"])?;
    let listed = json(&site.must(&["udf", "list", "--json"])?)?;
    for node in listed.as_array().context("a list")? {
        let releases = node["releases"].as_array().context("a list")?;
        ensure!(releases.len() == 1 && node["disk"] == "here", "{node:#}");
        ensure!(releases[0]["release"] == release && releases[0]["state"] == "running", "{node:#}");
        ensure!(releases[0]["written_unix_s"].as_u64() > Some(0), "{node:#}");
        for function in node["functions"].as_array().context("a list")? {
            ensure!(function["state"] == "running" && function["release"] == release, "{node:#}");
        }
    }
    // WHEN the config lacks the disk of ch2 THEN the node itself reports the same
    let whole = site.config_mut().clone();
    forget_disk_of_ch2(site)?;
    let listed = json(&site.must(&["udf", "list", "--json"])?)?;
    *site.config_mut() = whole;
    let elsewhere = &listed[1];
    ensure!(elsewhere["disk"] == "elsewhere" && elsewhere["releases"][0]["release"] == release, "{listed:#}");
    ensure!(elsewhere["releases"][0]["written_unix_s"].is_null(), "{listed:#}");

    // WHEN an uninstall is run dry THEN the plan is shown and the functions still work
    let planned = site.posthouse(&["udf", "uninstall", "--dry-run", "--json"])?;
    ensure!(planned.code == 3, "{planned}");
    ensure!(site.query_on(1, CALL)? == "1", "a dry run changed something");
    // WHEN it is executed THEN it follows the plan, and file, functions and folders are gone
    let done = site.must(&["udf", "uninstall", "--json"])?;
    ensure!(json(&done)? == json(&planned)?, "planned {planned}, done {done}");
    for (index, node) in site.stack.nodes().iter().enumerate() {
        let Err(error) = site.query_on(index, CALL) else { bail!("{} still answers", node.name()) };
        ensure!(format!("{error:#}").contains("UNKNOWN_FUNCTION"), "{error:#}");
        ensure!(!node.functions_xml().exists(), "the file of {} is there", node.name());
        ensure!(releases(node)?.is_empty(), "{:?}", releases(node)?);
    }
    // WHEN it is repeated THEN it changes no file, and reports this
    let again = site.must(&["udf", "uninstall"])?;
    ensure!(again.stdout.contains("no changes"), "{again}");
    site.must(&["udf", "uninstall", "--dry-run"])?;
    // WHEN the functions are installed after that THEN they answer
    site.must(&["udf", "install"])?;
    ensure!(site.query_on(1, CALL)? == "1", "no function after the second install");
    Ok(())
}

fn the_previous_release_is_kept_and_older_ones_go(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two releases, one installed after the other
    site.must(&["udf", "uninstall"])?;
    let folder = tempfile::tempdir()?;
    let program = |build| another_program(folder.path(), build);
    let (first, _) = installed_release(site, &program("1")?)?;
    let (second, removed) = installed_release(site, &program("2")?)?;
    ensure!(removed.is_empty(), "{removed:?} went too early");
    // WHEN the third is installed THEN the first is removed
    let (third, removed) = installed_release(site, &program("3")?)?;
    ensure!(removed == [first.as_str()], "removed {removed:?}, not {first}");
    for node in site.stack.nodes() {
        ensure!(releases(node)? == BTreeSet::from([second.clone(), third.clone()]), "{:?}", releases(node)?);
    }
    let listed = site.must(&["udf", "list"])?;
    let line = |release: &str, state: &str| {
        listed.stdout.lines().any(|line| line.contains(release) && line.contains(state))
    };
    ensure!(line(&second, "idle") && line(&third, "running"), "{listed}");
    // WHEN the second is reinstalled, and then a fourth, beside a folder that holds more than a
    // program
    let lookalike = site.stack.nodes()[0].user_scripts().join("posthouse-0.0.1-00000000");
    fs::create_dir(&lookalike)?;
    fs::write(lookalike.join("posthouse-udf"), "program")?;
    fs::write(lookalike.join("notes.txt"), "notes")?;
    installed_release(site, &program("2")?)?;
    let (_, removed) = installed_release(site, &program("4")?)?;
    // THEN the release that ran last is kept and the newer one removed, and the folder stays, also
    // after an uninstall
    ensure!(removed == [third.as_str()], "removed {removed:?}, not {third}");
    ensure!(site.query(CALL)? == "1", "no answer");
    let uninstalled = site.must(&["udf", "uninstall"])?;
    ensure!(uninstalled.stdout.contains(&lookalike.display().to_string()), "{uninstalled}");
    ensure!(fs::read(lookalike.join("notes.txt"))? == b"notes", "a file that is not ours was changed");
    fs::remove_dir_all(&lookalike)?;
    site.must(&["udf", "install"])?;
    Ok(())
}

fn nodes_that_share_a_folder_keep_what_each_of_them_ran() -> anyhow::Result<()> {
    // GIVEN two nodes with one folder of programs, the second of which still runs the first release
    let stack = Stack::start(StackSpec::sharded(&[1, 1]), &Progress::Silent)?;
    let mut site = Site::new(&stack, "shared_folder")?;
    let [one, other] = stack.nodes() else { bail!("two nodes") };
    fs::remove_dir(other.user_scripts())?;
    std::os::unix::fs::symlink(one.user_scripts(), other.user_scripts())?;
    let folder = tempfile::tempdir()?;
    let program = |build| another_program(folder.path(), build);
    let (first, _) = installed_release(&site, &program("1")?)?;
    let whole = site.config_mut().clone();
    forget_disk_of_ch2(&mut site)?;
    let second = program("2")?;
    site.must(&["udf", "install", "--binary", second.to_str().context("a path in UTF-8")?])?;
    *site.config_mut() = whole;
    // WHEN both get the third
    let (third, removed) = installed_release(&site, &program("3")?)?;
    // THEN the previous release of either is kept for a rollback
    let there = releases(one)?;
    ensure!(there.len() == 3 && there.contains(&first) && there.contains(&third), "{there:?}, not {first}");
    ensure!(removed.is_empty(), "{removed:?} went");
    // WHEN both get a fourth THEN both previous releases are removed, once
    let (fourth, removed) = installed_release(&site, &program("4")?)?;
    ensure!(removed.len() == 2 && removed.contains(&first), "{removed:?} went, not {first}");
    ensure!(releases(one)? == BTreeSet::from([third, fourth]), "{:?}", releases(one)?);
    Ok(())
}

/// Removes the path of ch2's disk from the config, as if ch2 were on another machine.
fn forget_disk_of_ch2(site: &mut Site<'_>) -> anyhow::Result<()> {
    for key in ["user_scripts_path", "functions_config_file"] {
        let replica = site.config_mut().get_mut("shards").and_then(|shards| shards[1]["replicas"].get_mut(0));
        replica.and_then(toml::Value::as_table_mut).context("ch2")?.remove(key).context(key)?;
    }
    Ok(())
}

fn a_functions_file_of_somebody_else_is_refused(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN two nodes with functions, the second with a file that posthouse did not write
    site.must(&["udf", "install"])?;
    let path = site.stack.nodes()[1].functions_xml();
    let ours = fs::read_to_string(&path)?;
    let (_, content) = ours.split_once('\n').context("a header")?;
    fs::write(&path, content)?;
    for arguments in [&["udf", "uninstall", "--dry-run"][..], &["udf", "uninstall"]] {
        // WHEN they are uninstalled
        let refused = site.posthouse(arguments)?;
        // THEN the file is named, and both nodes keep their functions
        ensure!(refused.code == 1 && refused.stderr.contains(&path.display().to_string()), "{refused}");
        ensure!(fs::read_to_string(&path)? == content, "the file was changed");
        for (index, node) in site.stack.nodes().iter().enumerate() {
            ensure!(site.query_on(index, CALL)? == "1" && !releases(node)?.is_empty(), "{}", node.name());
        }
    }
    fs::write(&path, ours)?;
    Ok(())
}

fn programs_stay_while_another_file_names_them(site: &mut Site<'_>) -> anyhow::Result<()> {
    // GIVEN a foreign function that runs a program of posthouse
    let installed = json(&site.must(&["udf", "install", "--json"])?)?;
    let release = text(&installed[0]["release"])?;
    let node = &site.stack.nodes()[0];
    let other = node.functions_xml().with_file_name("other_functions.xml");
    let ours = fs::read_to_string(node.functions_xml())?;
    let (_, theirs) = ours.split_once('\n').context("a header")?;
    fs::write(&other, theirs.replace("<name>shardKey</name>", "<name>theirKey</name>"))?;
    // WHEN posthouse's functions are uninstalled THEN this fails with that function's name, and its
    // program is kept
    let refused = site.posthouse(&["udf", "uninstall"]);
    let there = releases(node);
    fs::remove_file(&other)?;
    let (refused, there) = (refused?, there?);
    ensure!(refused.code == 1 && refused.stderr.contains("node ch1 still has"), "{refused}");
    ensure!(there.contains(&release), "{release} is not among {there:?}");
    // WHEN the other file is gone THEN the rest is removed, although posthouse's file went before
    site.must(&["udf", "uninstall"])?;
    for node in site.stack.nodes() {
        ensure!(releases(node)?.is_empty(), "{:?}", releases(node)?);
    }
    site.must(&["udf", "install"])?;
    Ok(())
}

/// Makes a program with the same behavior and another checksum, because bytes after an executable's
/// end are ignored.
fn another_program(folder: &Path, build: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(build);
    fs::copy(binary("posthouse-udf")?, &path)?;
    let mut bytes = fs::read(&path)?;
    bytes.extend_from_slice(build.as_bytes());
    fs::write(&path, bytes)?;
    Ok(path)
}

/// Installs `program`. Returns its release, and the releases that were removed from every node.
fn installed_release(site: &Site<'_>, program: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let program = program.to_str().context("a path in UTF-8")?;
    let installed = json(&site.must(&["udf", "install", "--json", "--binary", program])?)?;
    let (one, other) = (&installed[0], &installed[1]);
    ensure!(one["removed"] == other["removed"], "{installed:#}");
    let removed = one["removed"].as_array().context("a list")?.iter().map(text).collect::<Result<_, _>>()?;
    Ok((text(&one["release"])?, removed))
}

/// The names of releases in a node's folder of programs, which may also hold the person index.
fn releases(node: &Node) -> anyhow::Result<BTreeSet<String>> {
    let names = fs::read_dir(node.user_scripts())?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<std::io::Result<_>>()?;
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    let version = |name: &str| name.strip_prefix("posthouse-").and_then(|rest| rest.chars().next());
    Ok(names.filter(|name| version(name).is_some_and(|first| first.is_ascii_digit())).collect())
}

fn text(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(value.as_str().with_context(|| format!("a text, not {value}"))?.to_owned())
}

fn wrong_weights_are_an_error_that_names_the_row_and_the_pool_goes_on(
    site: &mut Site<'_>,
) -> anyhow::Result<()> {
    // GIVEN nodes with functions
    site.must(&["udf", "install"])?;
    let right = "SELECT shardOf('user-2', [3, 0, 2]), shardOf('user-2', [1, 1])";
    let answer = site.query(right)?;
    for _ in 0..5 {
        for (weights, row, reason) in [
            ("emptyArrayUInt32()", 1, "weights are empty"),
            ("[0, 0, 0]", 1, "all 3 weights are 0"),
            ("[4294967295, 1]", 1, "weights of 2 shards sum to more than 4294967295"),
            ("if(number = 6, [0, 0], [1, 3])", 7, "all 2 weights are 0"),
        ] {
            // WHEN one row of a block has weights that no shard can be chosen from
            let sql = format!("SELECT shardOf(toString(number), {weights}) FROM numbers(10)");
            let refused = site.query(&sql);
            // THEN the query fails and names row, column and reason
            let Err(error) = refused else { bail!("{sql} answered {}", refused?) };
            let (text, place) = (format!("{error:#}"), format!("row {row}, column weights: {reason}"));
            ensure!(text.contains(&place), "no {place:?} in {text}");
        }
        // THEN the next query succeeds
        ensure!(site.query(right)? == answer, "another answer after the error");
    }
    // THEN the pool also serves many threads at once
    let many =
        site.query("SELECT countIf(shardOf(toString(number), [1, 3]) = 1) > 0 FROM numbers_mt(200000)")?;
    ensure!(many == "1", "{many}");
    Ok(())
}
