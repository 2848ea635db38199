//! `posthouse completions`: completion scripts of shells.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use serde::Serialize;

use super::output::Output;
use super::{Arguments, Outcome};

pub(super) const COMPLETIONS: &str = "\
Needs no config. The script completes commands, options and their values.

Examples:
  posthouse completions bash > /etc/bash_completion.d/posthouse
  posthouse completions zsh > \"${fpath[1]}/_posthouse\"
  posthouse completions fish > ~/.config/fish/completions/posthouse.fish";

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

/// JSON output of `completions`.
#[derive(Serialize)]
struct CompletionScript {
    shell: String,
    script: String,
}

impl Completions {
    pub(super) fn run(&self, output: Output) -> anyhow::Result<Outcome> {
        let script = CompletionScript { shell: self.shell.to_string(), script: script(self.shell)? };
        output.print(&script, |script| script.script.clone())?;
        Ok(Outcome::Clean)
    }
}

fn script(shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "posthouse", &mut script);
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_commands_and_options() {
        for shell in Shell::value_variants() {
            let script = script(*shell).expect("UTF-8");
            for word in ["backfill", "log-format", "allow-reload"] {
                assert!(script.contains(word), "no {word} for {shell}");
            }
        }
    }
}
