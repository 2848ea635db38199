//! Exit codes of every command, for `--help` and the reference.

use std::fmt::Write as _;

use clap::Command;

use super::{DIFFERENCES, DONE, FAILED, WRONG_CONFIG};

/// Columns of a line in `--help`.
const COLUMNS: usize = 100;

/// Exit codes that all commands share, with their meanings.
const SHARED_CODES: [(u8, &str); 4] = [
    (DONE, "done, or no difference"),
    (
        FAILED,
        "failed: a server was unreachable or refused, a check before a change refused it, or the work was stopped",
    ),
    (WRONG_CONFIG, "wrong usage, config, topics file or mapping; no change was made"),
    (DIFFERENCES, "differences found, or left"),
];

/// Exit codes of some commands.
struct CommandCodes {
    /// Commands without `posthouse`. One option may follow, with which these codes hold.
    commands: &'static [&'static str],
    /// Meanings, as Markdown. Code 2 has the shared meaning where it is not listed. Others that
    /// are not listed do not occur.
    codes: &'static [(u8, &'static str)],
}

/// All commands, in the order of the reference. Rows of one group of commands form a table.
const COMMANDS: &[CommandCodes] = &[
    CommandCodes {
        commands: &["run"],
        codes: &[
            (DONE, "every task ended in order after SIGTERM or SIGINT"),
            (
                FAILED,
                "a change of topics was interrupted (the next apply does the rest); the stop took longer than 9 s; a second signal came; a task failed five times in a row or blocked its thread; `daemon.listen` is taken",
            ),
            (WRONG_CONFIG, "the config is wrong"),
        ],
    },
    CommandCodes {
        commands: &["schema plan", "schema check", "schema apply --dry-run"],
        codes: &[
            (DONE, "all nodes match the config"),
            (FAILED, "a node is unreachable, or knows another cluster than the config"),
            (DIFFERENCES, "any difference, or a setting of a node that is a fault"),
        ],
    },
    CommandCodes {
        commands: &["schema apply"],
        codes: &[
            (DONE, "all nodes match the config"),
            (FAILED, "refused, a step failed, stopped by a signal, or an object still differs after apply"),
            (DIFFERENCES, "differences that posthouse leaves to you are left"),
        ],
    },
    CommandCodes {
        commands: &["schema render"],
        codes: &[(DONE, "printed"), (FAILED, "the config has no node of that name")],
    },
    CommandCodes {
        commands: &["schema import"],
        codes: &[(DONE, "printed"), (FAILED, "a node is unreachable, or has no cluster of that name")],
    },
    CommandCodes {
        commands: &["schema materialize"],
        codes: &[
            (DONE, "every part from `--since` on has the columns"),
            (
                FAILED,
                "refused, stopped by a signal, a mutation failed or made no progress, or a node is unreachable",
            ),
        ],
    },
    CommandCodes {
        commands: &["schema materialize --dry-run"],
        codes: &[
            (DONE, "every part from `--since` on has the columns"),
            (FAILED, "refused, or a node is unreachable"),
            (DIFFERENCES, "parts lack a column"),
        ],
    },
    CommandCodes {
        commands: &["schema unused-fields"],
        codes: &[
            (DONE, "every field of the sample is stored"),
            (FAILED, "brokers unreachable"),
            (DIFFERENCES, "fields that no column stores"),
        ],
    },
    CommandCodes {
        commands: &["topics plan", "topics apply --dry-run"],
        codes: &[
            (DONE, "no difference"),
            (FAILED, "brokers unreachable, or of another cluster"),
            (DIFFERENCES, "any step or refusal"),
        ],
    },
    CommandCodes {
        commands: &["topics apply"],
        codes: &[
            (DONE, "all done"),
            (FAILED, "a step failed; the lock is held; a saved plan does not fit any more"),
            (DIFFERENCES, "refused changes, or steps of a retention, are left"),
        ],
    },
    CommandCodes {
        commands: &["topics check"],
        codes: &[
            (DONE, "no finding"),
            (FAILED, "brokers unreachable"),
            (DIFFERENCES, "any fault or warning"),
        ],
    },
    CommandCodes {
        commands: &["topics groups"],
        codes: &[(DONE, "printed"), (FAILED, "no group of that name")],
    },
    CommandCodes {
        commands: &["topics reset"],
        codes: &[
            (DONE, "the group is at these offsets already"),
            (FAILED, "refused"),
            (DIFFERENCES, "offsets or tables would change"),
        ],
    },
    CommandCodes {
        commands: &["topics reset --execute"],
        codes: &[(DONE, "done"), (FAILED, "refused, or did not finish")],
    },
    CommandCodes {
        commands: &["topics import"],
        codes: &[(DONE, "written"), (FAILED, "brokers unreachable, or the file exists")],
    },
    CommandCodes {
        commands: &["persons check"],
        codes: &[
            (DONE, "`posthouse run` would publish, and no message or row conflicts"),
            (FAILED, "no `[persons.postgres]`, or a server is unreachable"),
            (
                DIFFERENCES,
                "a requirement is not met, a conflict was found, or nodes have greater versions than the WAL",
            ),
        ],
    },
    CommandCodes {
        commands: &["persons audit"],
        codes: &[
            (DONE, "every node equals PostgreSQL"),
            (FAILED, "no slot is held while rows differ, a group does not read, or a server is unreachable"),
            (DIFFERENCES, "rows differ"),
        ],
    },
    CommandCodes {
        commands: &["persons audit --repair"],
        codes: &[
            (DONE, "every node equals PostgreSQL after the repair"),
            (FAILED, "the repair would delete too many rows, or another producer conflicts"),
            (DIFFERENCES, "rows differ after the repair"),
        ],
    },
    CommandCodes {
        commands: &["persons squash"],
        codes: &[
            (DONE, "no event has another person than its distinct id"),
            (FAILED, "a node is unreachable, or old events are unread"),
            (DIFFERENCES, "events have another person"),
        ],
    },
    CommandCodes {
        commands: &["persons squash --apply"],
        codes: &[
            (DONE, "all events have their current person, and the overrides are removed"),
            (
                FAILED,
                "a node is unreachable, old events are unread, or a mutation failed: the overrides of the round are left",
            ),
        ],
    },
    CommandCodes {
        commands: &["persons snapshot build"],
        codes: &[
            (DONE, "published"),
            (
                FAILED,
                "no node's disk is on this machine, a node or the brokers are unreachable, its folder can't be written, \
                 or posthouse run keeps the index",
            ),
        ],
    },
    CommandCodes {
        commands: &["persons snapshot status"],
        codes: &[
            (DONE, "every node on this machine has an index"),
            (FAILED, "no node's disk is on this machine"),
            (DIFFERENCES, "an index is missing or unusable"),
        ],
    },
    CommandCodes {
        commands: &["persons snapshot verify"],
        codes: &[
            (DONE, "every index equals its table"),
            (FAILED, "an index is missing or unusable, or a node is unreachable"),
            (DIFFERENCES, "distinct ids differ"),
        ],
    },
    CommandCodes {
        commands: &["udf install", "udf uninstall"],
        codes: &[
            (DONE, "done"),
            (FAILED, "a node refused, a file can't be written, or views call the functions"),
        ],
    },
    CommandCodes {
        commands: &["udf uninstall --dry-run"],
        codes: &[
            (DONE, "no file to remove"),
            (FAILED, "a node is unreachable"),
            (DIFFERENCES, "files to remove"),
        ],
    },
    CommandCodes { commands: &["udf list"], codes: &[(DONE, "printed"), (FAILED, "a node is unreachable")] },
    CommandCodes {
        commands: &["udf check"],
        codes: &[
            (DONE, "every answer is right"),
            (FAILED, "a node is unreachable"),
            (DIFFERENCES, "a function is missing or answers differently"),
        ],
    },
    CommandCodes {
        commands: &["backfill plan"],
        codes: &[(DONE, "printed"), (FAILED, "a file or node can't be read, or files can't be loaded")],
    },
    CommandCodes {
        commands: &["backfill run"],
        codes: &[
            (DONE, "loaded and verified, or the share of this machine is loaded"),
            (FAILED, "failed, interrupted, cancelled, or too many rejects"),
            (DIFFERENCES, "the job is complete and the verification found a difference"),
        ],
    },
    CommandCodes {
        commands: &["backfill run --dry-run"],
        codes: &[(DONE, "counted, with any number of rejects"), (FAILED, "failed or stopped")],
    },
    CommandCodes {
        commands: &["backfill run --no-verify"],
        codes: &[(DONE, "loaded"), (FAILED, "as `run`")],
    },
    CommandCodes {
        commands: &["backfill watch"],
        codes: &[
            (DONE, "stopped in order by a signal"),
            (FAILED, "a source can't be listed at the start, the address is in use, or stopped at once"),
        ],
    },
    CommandCodes {
        commands: &["backfill list", "backfill status"],
        codes: &[(DONE, "printed"), (FAILED, "no job of that name, or a shard is down")],
    },
    CommandCodes {
        commands: &["backfill cancel"],
        codes: &[(DONE, "the job was asked to stop"), (FAILED, "no job of that name, or the job is loaded")],
    },
    CommandCodes {
        commands: &["backfill undo"],
        codes: &[
            (DONE, "the job is undone, and no row of it is stored"),
            (FAILED, "files of other jobs, or a node is unreachable"),
            (DIFFERENCES, "rows of the job are stored, or an undo is not finished"),
        ],
    },
    CommandCodes {
        commands: &["backfill undo --execute"],
        codes: &[
            (DONE, "no row of the job is stored, and all rows of others are"),
            (
                FAILED,
                "a load runs, events of others would be lost, a node is unreachable, or a mutation failed: run it again",
            ),
            (DIFFERENCES, "the job is undone, and partitions have fewer rows of others than before"),
        ],
    },
    CommandCodes {
        commands: &["backfill verify"],
        codes: &[
            (DONE, "every row is as the files have it, or the job is undone and no row of it is stored"),
            (FAILED, "a shard is down, or an undo is not finished"),
            (
                DIFFERENCES,
                "a row is missing, extra, changed or on the wrong shard, or the job is not complete",
            ),
        ],
    },
    CommandCodes {
        commands: &["completions", "man"],
        codes: &[(DONE, "printed or written"), (FAILED, "a file can't be written")],
    },
];

/// Adds its exit codes to the help of every command.
pub(super) fn documented(command: Command) -> Command {
    let shared = paragraph("Exit codes:", SHARED_CODES.iter().copied());
    let command = command.mut_subcommands(|below| with_codes(below, ""));
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    command.after_help(format!("{shared}\n\n{help}"))
}

fn with_codes(command: Command, above: &str) -> Command {
    let path = format!("{above} {}", command.get_name()).trim_start().to_owned();
    let command = command.mut_subcommands(|below| with_codes(below, &path));
    let help = command.get_after_help().map(ToString::to_string);
    let parts: Vec<String> = help.into_iter().chain(codes_of(&path)).collect();
    if parts.is_empty() { command } else { command.after_help(parts.join("\n\n")) }
}

/// Paragraphs of a command's exit codes: its own first, then one for each option with others.
fn codes_of(path: &str) -> Vec<String> {
    let mut found: Vec<(&str, &[(u8, &'static str)])> = Vec::new();
    for entry in COMMANDS {
        let options = entry.commands.iter().filter_map(|command| command.strip_prefix(path));
        let options = options.filter(|option| option.is_empty() || option.starts_with(" --"));
        found.extend(options.map(|option| (option, entry.codes)));
    }
    found.sort_by_key(|(option, _)| *option);
    let paragraphs = found.into_iter().map(|(option, codes)| match option {
        "" => {
            let is_missing = |code| !codes.iter().any(|&(listed, _)| listed == code);
            let usage =
                SHARED_CODES.into_iter().filter(|&(code, _)| code == WRONG_CONFIG && is_missing(code));
            let mut codes: Vec<_> = codes.iter().copied().chain(usage).collect();
            codes.sort_unstable();
            paragraph("Exit codes:", codes.into_iter())
        }
        option => paragraph(&format!("Exit codes with{option}:"), codes.iter().copied()),
    });
    paragraphs.collect()
}

/// A title and a line for each code, wrapped.
fn paragraph(title: &str, codes: impl Iterator<Item = (u8, &'static str)>) -> String {
    let mut text = title.to_owned();
    for (code, meaning) in codes {
        let mut line = format!("  {code} ");
        for word in meaning.replace('`', "").split(' ') {
            if line.len() + 1 + word.len() > COLUMNS {
                let _ = write!(text, "\n{line}");
                line = "    ".to_owned();
            }
            let _ = write!(line, " {word}");
        }
        let _ = write!(text, "\n{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::command;

    const HEAD: &str = "\
# Exit codes

All commands of posthouse use the same four exit codes. This page lists them for each command, with
the JSON form of errors. It is generated: run
`POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib exit_codes` after a change.

## Exit codes of all commands

| code | meaning |
|---|---|
";

    const AFTER_SHARED: &str = "
`--help` and `--version` end with 0. A panic would end with Rust's own code 101, and a process that
a signal kills has the code of its shell or service manager (128 + signal number in most shells).

## Exit code 2

| cause | examples |
|---|---|
| command line | unknown option, missing argument |
| config file | unreadable, unknown key, value out of range, password file unreadable |
| topics file | unreadable, unknown key, wrong value |
| mapping of a backfill | unknown preset, faulty file, a mapping that does not fit a Parquet file |
| `--yes-delete` or `--yes-loss` | a topic that the topics file does not name |

Every fault of a file is reported at once, with its line.
";

    /// Prose below the table of a group of commands.
    const NOTES: [(&str, &str); 2] = [
        ("run", "\nA service manager should start posthouse again after code 1.\n"),
        (
            "persons",
            "
A requirement in the state `blocks` (a prepared transaction) does not change the code. Rows counted
as `duplicates` or `moving` don't either.
",
        ),
    ];

    const FOOT: &str = "
## Errors as JSON

With `--json` stdout has the result as one JSON document, or is empty where there is none. Exit
codes 1 and 2, wrong options included, come with one line of JSON, the last one of stderr:

```json
{\"error\":{\"message\":\"…\",\"causes\":[\"…\"],\"exit_code\":1}}
```

Lines of stderr before it are logs and progress, for people. Without `--json` the last line is
`posthouse: MESSAGE: CAUSE: …`.

A closed or full pipe never changes an exit code: `posthouse schema apply 2>&1 | head -1` takes all
of its steps.
";

    /// The group of an entry's commands, and their names in it.
    fn group(entry: &CommandCodes) -> (&'static str, Vec<&'static str>) {
        let first = entry.commands[0];
        match first.split_once(' ') {
            None if entry.commands.len() > 1 => ("", entry.commands.to_vec()),
            None => (first, Vec::new()),
            Some((group, _)) => {
                (group, entry.commands.iter().map(|command| &command[group.len() + 1..]).collect())
            }
        }
    }

    /// A table of codes in lines.
    fn lines(codes: &[(u8, &str)]) -> String {
        codes.iter().map(|(code, meaning)| format!("| {code} | {meaning} |\n")).collect()
    }

    fn page() -> String {
        let mut page = format!("{HEAD}{}{AFTER_SHARED}", lines(&SHARED_CODES));
        for entries in COMMANDS.chunk_by(|one, next| group(one).0 == group(next).0) {
            let title = match group(&entries[0]).0 {
                "" => "Other commands".to_owned(),
                name => format!("posthouse {name}"),
            };
            let _ = write!(page, "\n## {title}\n\n");
            match entries {
                [only] if group(only).1.is_empty() => {
                    let _ = write!(page, "| code | meaning |\n|---|---|\n{}", lines(only.codes));
                }
                entries => {
                    page.push_str("| command | 0 | 1 | 3 |\n|---|---|---|---|\n");
                    for entry in entries {
                        let names: Vec<String> =
                            group(entry).1.iter().map(|name| format!("`{name}`")).collect();
                        let cells = [DONE, FAILED, DIFFERENCES].map(|code| {
                            let found = entry.codes.iter().find(|(listed, _)| *listed == code);
                            found.map_or(String::new(), |(_, meaning)| format!("{meaning} "))
                        });
                        let _ = writeln!(page, "| {} | {}|", names.join(", "), cells.join("| "));
                    }
                }
            }
            let name = group(&entries[0]).0;
            page.extend(NOTES.iter().filter(|(group, _)| *group == name).map(|(_, note)| *note));
        }
        page + FOOT
    }

    #[test]
    fn the_page_of_exit_codes_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/exit-codes.md");
        if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
            std::fs::write(path, page()).expect("the page can be written");
        }
        let written = std::fs::read_to_string(path).expect("docs/reference/exit-codes.md");
        assert!(
            written == page(),
            "docs/reference/exit-codes.md is not current; its first lines say how to generate it"
        );
    }

    /// Paths of commands that run, and of those with each of their options.
    fn paths(command: &Command, path: &str, found: &mut BTreeSet<String>, options: &mut BTreeSet<String>) {
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name()).trim_start().to_owned();
            paths(below, &path, found, options);
            if !below.has_subcommands() {
                let longs = below.get_arguments().filter_map(|argument| argument.get_long());
                options.extend(longs.map(|option| format!("{path} --{option}")));
                found.insert(path);
            }
        }
    }

    #[test]
    fn every_command_has_its_exit_codes_once_and_no_other_has() {
        let (mut commands, mut with_options) = (BTreeSet::new(), BTreeSet::new());
        paths(&command(), "", &mut commands, &mut with_options);
        let listed: Vec<&str> = COMMANDS.iter().flat_map(|entry| entry.commands).copied().collect();
        let unique: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(listed.len(), unique.len(), "a command is listed twice");
        for command in &commands {
            assert!(unique.contains(command.as_str()), "{command} has no exit codes");
        }
        for listed in unique {
            let exists = commands.contains(listed) || with_options.contains(listed);
            assert!(exists, "{listed} is not a command");
        }
    }

    #[test]
    fn help_has_the_codes_of_a_command_and_of_its_options() {
        let mut top = command();
        let help = top.render_help().to_string();
        assert!(help.contains("Exit codes:\n  0  done, or no difference\n  1  failed"), "{help}");
        let topics = top.find_subcommand_mut("topics").expect("topics");
        let apply = topics.find_subcommand_mut("apply").expect("apply").render_help().to_string();
        let usage = "  2  wrong usage, config, topics file or mapping; no change was made\n";
        assert!(apply.contains("Exit codes:\n  0  all done\n") && apply.contains(usage), "{apply}");
        assert!(apply.contains("Exit codes with --dry-run:\n  0  no difference\n"), "{apply}");
        let groups = topics.find_subcommand_mut("groups").expect("groups").render_help().to_string();
        assert!(!groups.contains("\n  3  "), "{groups}");
    }
}
