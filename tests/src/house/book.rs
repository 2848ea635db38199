//! The book of the docs: its summary, and links of its rendered pages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::links::targets;
use super::sources::{files, files_below, root};

const SUMMARY: &str = include_str!("../../../docs/SUMMARY.md");
const OVERVIEW: &str = include_str!("../../../docs/README.md");

#[test]
fn the_summary_lists_every_page_once_in_the_order_of_the_overview() {
    let listed = targets(SUMMARY);
    let pages = files("docs", "md").into_iter().map(|(path, _)| path["docs/".len()..].to_owned());
    let pages: BTreeSet<String> = pages.filter(|page| page != "SUMMARY.md").collect();
    let unique: BTreeSet<String> = listed.iter().map(|&page| page.to_owned()).collect();
    assert_eq!(unique, pages, "docs/SUMMARY.md lists other pages than docs has");
    assert_eq!(unique.len(), listed.len(), "docs/SUMMARY.md lists a page twice");
    let overview: Vec<&str> = ["README.md"].into_iter().chain(targets(OVERVIEW)).collect();
    assert_eq!(listed, overview, "docs/SUMMARY.md and docs/README.md have different orders");
}

/// The values of an attribute in HTML.
fn values<'a>(html: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let parts: Vec<&str> = html.split(&format!(" {attribute}=\"")).skip(1).collect();
    parts.into_iter().filter_map(|part| Some(part.split_once('"')?.0))
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = normal.pop(),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_of_the_rendered_book_leads_to_a_page_and_a_heading() {
    let book = tempfile::tempdir().expect("a folder");
    let mut build = Command::new("mdbook");
    let built = match build.arg("build").arg("--dest-dir").arg(book.path()).arg(root()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not by a macro of the test harness, which hides the output of a test that passes.
            let reason = "mdbook is not on PATH: cargo install mdbook";
            _ = writeln!(std::io::stderr(), "NOT RUN: the links of the rendered book, since {reason}");
            return;
        }
        built => built.expect("mdbook starts"),
    };
    let log = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !log.contains("WARN"), "mdbook build: {log}");
    let pages: BTreeMap<PathBuf, String> = files_below(book.path(), "html").into_iter().collect();
    let ids: BTreeMap<&PathBuf, BTreeSet<&str>> =
        pages.iter().map(|(path, html)| (path, values(html, "id").collect())).collect();
    // Links of the page of errors begin at the root of a site.
    let linking = pages.iter().filter(|(path, _)| !path.ends_with("404.html"));
    let (mut count, mut broken) = (0, Vec::new());
    for (path, html) in linking {
        for link in values(html, "href").filter(|link| !link.contains(':')) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().unwrap_or(book.path());
            let file = if file.is_empty() { path.clone() } else { normal(&folder.join(file)) };
            let is_heading = anchor.is_empty() || ids.get(&file).is_some_and(|ids| ids.contains(anchor));
            if !file.is_file() || !is_heading {
                broken.push(format!("{}: {link}", path.display()));
            }
            count += 1;
        }
    }
    assert!(broken.is_empty(), "links of the book without a target: {broken:#?}");
    assert!(count > 1000, "only {count} links were found");
}
