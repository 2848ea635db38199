//! `posthouse man`: manual pages.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde::Serialize;

use super::output::Output;
use super::{Outcome, command};

pub(super) const MAN: &str = "\
Needs no config. Creates DIR if it does not exist, and overwrites older pages in it.

Examples:
  posthouse man | man -l -
  posthouse man /usr/local/share/man/man1";

#[derive(Debug, Args)]
pub(super) struct ManPages {
    /// Write one page per command into this folder, instead of the first page to stdout
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// JSON output of `man`.
#[derive(Serialize)]
struct FirstPage {
    page: String,
}

/// JSON output of `man DIR`.
#[derive(Serialize)]
struct WrittenPages {
    written: Vec<PathBuf>,
}

/// The page of one command.
struct ManPage {
    file: String,
    text: String,
}

impl ManPages {
    pub(super) fn run(&self, output: Output) -> anyhow::Result<Outcome> {
        let pages = pages()?;
        match &self.folder {
            None => {
                let page = pages.into_iter().next().map(|page| page.text).unwrap_or_default();
                output.print(&FirstPage { page }, |first| first.page.clone())?;
            }
            Some(folder) => {
                let written = WrittenPages { written: write(folder, &pages)? };
                output.print(&written, |written| {
                    format!("{} pages written to {}", written.written.len(), folder.display())
                })?;
            }
        }
        Ok(Outcome::Clean)
    }
}

fn write(folder: &Path, pages: &[ManPage]) -> anyhow::Result<Vec<PathBuf>> {
    let hint = || format!("can't write to {}: give a folder that can be written", folder.display());
    std::fs::create_dir_all(folder).with_context(hint)?;
    let write = |page: &ManPage| {
        let path = folder.join(&page.file);
        std::fs::write(&path, &page.text).with_context(hint)?;
        Ok(path)
    };
    pages.iter().map(write).collect()
}

/// Pages of all commands, the first one of `posthouse` itself.
fn pages() -> anyhow::Result<Vec<ManPage>> {
    let mut top = command().disable_help_subcommand(true);
    top.build();
    let (mut open, mut pages) = (vec![top], Vec::new());
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        pages.push(page(command)?);
    }
    Ok(pages)
}

fn page(command: Command) -> anyhow::Result<ManPage> {
    let notes = command.get_after_help().map(ToString::to_string);
    let has_commands = command.has_subcommands();
    let page = Man::new(command).source(concat!("posthouse ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(notes) = notes {
        lines("NOTES", &notes).to_writer(&mut text)?;
    }
    Ok(ManPage { file: page.get_filename(), text: String::from_utf8(text)? })
}

/// A section that keeps the lines of its text, because some are examples and tables.
fn lines(title: &str, text: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [title]).control("nf", []);
    for line in text.lines() {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_examples() {
        let pages = pages().expect("UTF-8");
        assert_eq!(pages[0].file, "posthouse.1");
        let run = pages.iter().find(|page| page.file == "posthouse-backfill-run.1").expect("a page");
        assert!(run.text.contains(".SH NOTES\n.nf\n") && run.text.contains("log\\-format"), "{}", run.text);
        assert!(pages.iter().all(|page| !page.file.contains("help")));
    }

    #[test]
    fn keeps_lines_and_escapes_requests() {
        let text = lines("NOTES", "a\n.b\n  c").to_roff();
        assert!(text.contains(".nf\na\n\\&.b\n  c\n"), "{text}");
    }
}
