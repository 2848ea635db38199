//! The reference of commands, made from the command line's own definition.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::command;

const HEAD: &str = "\
# Commands

Every command of `posthouse` with its options, as `--help` shows them. This page is generated: run
`POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib reference` after a change.
";

/// A text in one line, safe in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|").replace('<', "&lt;")
}

fn spelled(argument: &Arg) -> String {
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let name = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => String::new(),
    };
    let takes_value = argument.get_action().takes_values();
    format!("`{}`", if takes_value { format!("{name} {value}") } else { name }.trim())
}

fn default(argument: &Arg) -> String {
    let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() || !argument.get_action().takes_values() {
        String::new()
    } else {
        format!("`{}`", values.join(" "))
    }
}

fn describe(page: &mut String, command: &Command, name: &str, is_top: bool) {
    // Writing to a String does not fail.
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n## {name}\n\n{}.\n", about.trim_end_matches('.'));
    let shown = |argument: &&Arg| !argument.is_hide_set() && (is_top || !argument.is_global_set());
    let arguments: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if !arguments.is_empty() {
        page.push_str("\n| option | default | meaning |\n|---|---|---|\n");
    }
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            cell(&spelled(argument)),
            cell(&default(argument)),
            cell(&help)
        );
    }
    if let Some(more) = command.get_after_help() {
        let _ = write!(page, "\n```text\n{}\n```\n", more.to_string().trim_end());
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(page, below, &format!("{name} {}", below.get_name()), false);
    }
}

#[test]
fn the_page_of_commands_is_current() {
    let mut page = HEAD.to_owned();
    describe(&mut page, &command(), "posthouse", true);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli.md");
    if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(path).expect("docs/reference/cli.md");
    assert!(written == page, "docs/reference/cli.md is not current; its first lines say how to make it");
}
