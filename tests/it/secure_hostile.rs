//! Hostile servers in the place of a node.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthouse_tests::site::{binary, whole};
use posthouse_tests::stack::{HostileNode, Malice};
use tempfile::TempDir;

tests! {
    Free no_malice_of_a_node_makes_a_command_hang_or_panic_or_grow,
}

/// Deadline of a command whose node has a timeout of one second. It is many times what any of them
/// takes.
const LIMIT: Duration = Duration::from_secs(100);
/// Limit of a command's memory: an answer of 256 MiB, its rows, and the program.
const MAX_MEMORY_KIB: u64 = 1 << 20;

/// Commands that read much from nodes.
const COMMANDS: [&[&str]; 3] = [&["schema", "plan"], &["udf", "list"], &["backfill", "list"]];

/// A config whose only node is the hostile one.
fn config(folder: &TempDir, url: &str) -> anyhow::Result<std::path::PathBuf> {
    let text = format!(
        "[clickhouse]\ntimeout = \"1s\"\n[[shards]]\n[[shards.replicas]]\nname = \"ch1\"\nurl = \"{url}\"\n\
         address = \"127.0.0.1:1\"\n[kafka]\nbrokers = [\"127.0.0.1:1\"]\n"
    );
    let path = folder.path().join("posthouse.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// The end of a command.
pub(crate) struct Ended {
    /// `None` after its deadline.
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    /// The most memory that it has had.
    pub(crate) memory_kib: u64,
}

/// Runs a command with more environment variables, and measures its memory.
pub(crate) fn run_with(
    config: &Path,
    arguments: &[&str],
    variables: &[(String, String)],
    limit: Duration,
) -> anyhow::Result<Ended> {
    let mut stderr = tempfile::tempfile()?;
    let mut command = Command::new(binary("posthouse")?);
    command.arg("--config").arg(config).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.envs(variables.iter().cloned());
    let mut child = command.stderr(stderr.try_clone()?).spawn()?;
    let (begin, mut memory_kib) = (Instant::now(), 0);
    let code = loop {
        memory_kib = memory(&child).unwrap_or_default().max(memory_kib);
        match child.try_wait()? {
            Some(status) => break status.code(),
            None if begin.elapsed() > limit => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    Ok(Ended { code, stderr: whole(&mut stderr)?, memory_kib })
}

/// The most memory that a process has had.
fn memory(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Words of the error for a malice, where it has its own.
fn reason(malice: Malice) -> &'static str {
    match malice {
        Malice::Redirect => "it redirects to http://127.0.0.1:1/",
        Malice::Page => "no header of ClickHouse",
        Malice::Gzip => "the encoding gzip",
        Malice::EndlessHead => "the head of the answer",
        Malice::EndlessRows => "the answer has more than 268435456 bytes",
        Malice::EndlessRow => "a row of more than",
        Malice::Drip => "goes on",
        Malice::EndlessError | Malice::BinaryError => "see the server's log",
        Malice::TerminalError => "\\u{1b}[2J",
        Malice::Silence | Malice::SlowHead => "no answer within",
        _ => "ch1",
    }
}

fn no_malice_of_a_node_makes_a_command_hang_or_panic_or_grow() -> anyhow::Result<()> {
    for malice in Malice::ALL {
        // GIVEN a node with a malice
        let (node, folder) = (HostileNode::start(malice)?, tempfile::tempdir()?);
        let config = config(&folder, &node.url())?;
        for arguments in COMMANDS {
            // WHEN a command asks it
            let ended = run_with(&config, arguments, &[], LIMIT)
                .with_context(|| format!("{malice:?} {arguments:?}"))?;
            let about = format!(
                "{malice:?} {arguments:?}: exit code {:?}, {} KiB\n{}",
                ended.code,
                ended.memory_kib,
                ended.stderr.chars().take(2_000).collect::<String>()
            );
            eprintln!("{}", about.lines().take(3).collect::<Vec<_>>().join(" | "));
            // THEN it fails in time, in bounded memory, with the node's name and URL
            ensure!(ended.code == Some(1), "{about}");
            ensure!(ended.memory_kib < MAX_MEMORY_KIB, "{about}");
            ensure!(!ended.stderr.contains("panicked") && !ended.stderr.contains('\u{1b}'), "{about}");
            ensure!(ended.stderr.len() < 64 << 10, "{} bytes: {about}", ended.stderr.len());
            ensure!(ended.stderr.contains("ch1") && ended.stderr.contains(&node.url()), "{about}");
            // The endless rows are those of its first query.
            if arguments == ["backfill", "list"] {
                ensure!(ended.stderr.contains(reason(malice)), "{:?}: {about}", reason(malice));
            }
        }
    }
    Ok(())
}
