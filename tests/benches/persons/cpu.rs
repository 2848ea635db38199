//! CPU time of the servers and posthouse, to identify a benchmark's bottleneck.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;
use posthouse_tests::stack::Stack;

/// Ticks of the kernel's user-space clock (USER_HZ), the same on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// CPU seconds by process name, including child processes.
pub(super) type Cpu = BTreeMap<String, f64>;

/// Returns the CPU time since each process started. PostgreSQL's figure sums its running and ended
/// processes.
///
/// # Errors
/// Fails if the system doesn't report it.
pub(super) fn used(stack: &Stack) -> anyhow::Result<Cpu> {
    let processes = processes()?;
    let mut roots =
        vec![("broker".to_owned(), stack.broker().pid()), ("postgres".to_owned(), stack.postgres()?.pid())];
    roots.extend(stack.nodes().iter().map(|node| (node.name().to_owned(), node.pid())));
    let this = std::process::id();
    let ours = |process: &&Process| process.parent == this && process.name == "posthouse";
    roots.extend(processes.iter().filter(ours).map(|process| ("posthouse".to_owned(), Some(process.pid))));
    let own = processes.iter().find(|process| process.pid == this).map_or(0.0, |process| process.own);
    let mut cpu: Cpu =
        roots.into_iter().filter_map(|(name, pid)| Some((name, tree(&processes, pid?)))).collect();
    cpu.insert("benchmark".to_owned(), own);
    Ok(cpu)
}

/// Returns the CPU time used between two snapshots. Processes missing in the first snapshot started
/// at zero.
pub(super) fn between(before: &Cpu, after: &Cpu) -> Cpu {
    after.iter().map(|(name, used)| (name.clone(), used - before.get(name).unwrap_or(&0.0))).collect()
}

struct Process {
    pid: u32,
    parent: u32,
    name: String,
    /// Seconds used by the process itself.
    own: f64,
    /// Seconds used by its ended children.
    ended: f64,
}

fn processes() -> anyhow::Result<Vec<Process>> {
    let pids = fs::read_dir("/proc")
        .context("can't list processes")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(process).collect())
}

/// Returns `None` if the process has just ended.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses, and may contain parentheses itself.
    let (head, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let seconds = |from: usize| -> Option<f64> {
        let ticks = fields.get(from..from + 2)?.iter().map(|ticks| ticks.parse::<f64>().ok());
        Some(ticks.sum::<Option<f64>>()? / TICKS_A_SECOND)
    };
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        name: head.split_once('(')?.1.to_owned(),
        own: seconds(11)?,
        ended: seconds(13)?,
    })
}

fn tree(processes: &[Process], root: u32) -> f64 {
    let own: f64 = processes
        .iter()
        .filter(|process| process.pid == root)
        .map(|process| process.own + process.ended)
        .sum();
    let children = processes.iter().filter(|process| process.parent == root);
    own + children.map(|process| tree(processes, process.pid)).sum::<f64>()
}
