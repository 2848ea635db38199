//! `posthouse udf list`: releases of every node, and their use by functions.

use std::time::{Duration, SystemTime};

use crate::cli::Outcome;
use crate::cli::output::{Output, table};
use crate::node::{Node, reach_all};
use crate::udf::list::{Disk, FunctionState, ReleaseState};
use crate::udf::{self, Listed};

pub(super) const HELP: &str = "\
A release is a folder USER_SCRIPTS/posthouse-VERSION-CHECKSUM/ with the program. For nodes whose disk is elsewhere,
only the releases that their functions run are known.

States: running, idle (no function runs it), lost (functions run it, but the folder is gone: install again),
unknown (the node is too old to report it).

Examples:
  posthouse udf list
  posthouse udf list --json";

pub(super) async fn run(nodes: &[Node], output: Output) -> anyhow::Result<Outcome> {
    reach_all(nodes).await?;
    let mut listed = Vec::new();
    for node in nodes {
        listed.push(udf::list(node).await?);
    }
    output.print(&listed, |listed| text(listed, SystemTime::now()))?;
    Ok(Outcome::Clean)
}

fn text(listed: &[Listed], now: SystemTime) -> String {
    let mut rows = vec![["node", "release", "state", "written", "functions"].map(str::to_owned).to_vec()];
    let mut details = String::new();
    for node in listed {
        for release in &node.releases {
            rows.push(vec![
                node.node.clone(),
                release.release.clone(),
                state(release.state).to_owned(),
                release.written.map_or_else(|| "-".to_owned(), |written| age(written, now)),
                if release.functions.is_empty() { "-".to_owned() } else { release.functions.join(", ") },
            ]);
        }
        details.push_str(&remarks(node));
    }
    if rows.len() > 1 { table(&rows) + &details } else { details }
}

fn remarks(node: &Listed) -> String {
    let name = &node.node;
    if node.releases.is_empty() && node.functions.iter().all(|one| one.state == FunctionState::Missing) {
        return match node.disk {
            Disk::Here => format!("node {name} has no release: run posthouse udf install\n"),
            Disk::Elsewhere => {
                format!("node {name} has no functions: run posthouse udf install on its machine\n")
            }
        };
    }
    let remark = |function: &str, state: &FunctionState| match state {
        FunctionState::Running { .. } => String::new(),
        FunctionState::Foreign { command } => {
            format!("node {name} has a function {function} that is not ours: it runs {command:?}\n")
        }
        FunctionState::Failed { problem } => format!("node {name} can't load {function}: {problem}\n"),
        FunctionState::Unknown => {
            format!("node {name} has {function}, and is too old to report its command\n")
        }
        FunctionState::Missing => {
            format!("node {name} has no function {function}: run posthouse udf install\n")
        }
    };
    let lost = node.releases.iter().filter(|release| release.state == ReleaseState::Lost);
    let lost = lost.map(|lost| {
        format!("node {name} runs {}, which is not on its disk: run posthouse udf install\n", lost.release)
    });
    lost.chain(node.functions.iter().map(|function| remark(&function.name, &function.state))).collect()
}

fn state(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::Running => "running",
        ReleaseState::Idle => "idle",
        ReleaseState::Lost => "lost",
        ReleaseState::Unknown => "unknown",
    }
}

/// Formats an age in the largest unit of which at least one is full. A clock that was set
/// back gives 0 s.
fn age(written: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(written).unwrap_or(Duration::ZERO).as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3_600 => (seconds / 60, "min"),
        3_600..86_400 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit} ago")
}

#[cfg(test)]
mod tests {
    use crate::udf::list::{ListedFunction, ListedRelease};

    use super::*;

    fn function(state: FunctionState) -> Vec<ListedFunction> {
        vec![ListedFunction { name: "shardKey".to_owned(), state }]
    }

    #[test]
    fn an_age_has_one_unit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (seconds, shown) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (86_399, "23 h"), (200_000, "2 d")]
        {
            assert_eq!(age(now - Duration::from_secs(seconds), now), format!("{shown} ago"));
        }
        assert_eq!(age(now + Duration::from_secs(5), now), "0 s ago");
    }

    #[test]
    fn releases_line_up_and_what_lacks_is_said() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(120);
        let release = |functions: &[&str], state| ListedRelease {
            release: "posthouse-0.1.0-00000001".to_owned(),
            state,
            written: Some(SystemTime::UNIX_EPOCH),
            functions: functions.iter().map(ToString::to_string).collect(),
        };
        let foreign = FunctionState::Foreign { command: "cat".to_owned() };
        let node = |node: &str, disk, releases, functions| Listed {
            node: node.to_owned(),
            disk,
            releases,
            functions,
        };
        let here = vec![release(&["a", "b"], ReleaseState::Lost), release(&[], ReleaseState::Idle)];
        let listed = [
            node("ch1", Disk::Here, here, function(foreign)),
            node("ch2", Disk::Here, Vec::new(), function(FunctionState::Missing)),
            node("ch3", Disk::Elsewhere, Vec::new(), function(FunctionState::Missing)),
        ];
        assert_eq!(
            text(&listed, now),
            "\
node  release                   state  written    functions
ch1   posthouse-0.1.0-00000001  lost   2 min ago  a, b
ch1   posthouse-0.1.0-00000001  idle   2 min ago  -
node ch1 runs posthouse-0.1.0-00000001, which is not on its disk: run posthouse udf install
node ch1 has a function shardKey that is not ours: it runs \"cat\"
node ch2 has no release: run posthouse udf install
node ch3 has no functions: run posthouse udf install on its machine
"
        );
    }
}
