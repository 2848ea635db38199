//! Links between documents, with the headings that they name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::sources::{files, root};

/// Every Markdown file that people read.
pub(super) fn documents() -> Vec<(String, String)> {
    let top = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "udf/FUNCTIONS.md",
    ];
    let top = top.map(|name| (name.to_owned(), fs::read_to_string(root().join(name)).expect(name)));
    top.into_iter().chain(files("docs", "md")).collect()
}

/// The anchors of a document's headings, as GitHub makes them: the second of one name has `-1`.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let (mut seen, mut is_code) = (BTreeMap::<String, u32>::new(), false);
    let mut anchors = Vec::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else { continue };
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let anchor: String = heading.chars().filter(kept).collect::<String>().replace(' ', "-");
        let count = seen.entry(anchor.clone()).or_default();
        anchors.push(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// The targets of a document's links.
pub(super) fn targets(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let prose = text.lines().filter(|line| {
        is_code ^= line.trim_start().starts_with("```");
        !is_code
    });
    prose.flat_map(|line| line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        let folder = root().join(&path);
        let folder = folder.parent().unwrap_or(Path::new("."));
        for target in targets(&text).into_iter().filter(|target| !target.starts_with("http")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            let is_heading =
                |text: String| anchor.is_empty() || anchors(&text).iter().any(|found| found == anchor);
            let is_there = file.is_dir() || fs::read_to_string(&file).is_ok_and(is_heading);
            if !is_there {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "links without a target: {broken:#?}");
}

#[test]
fn headings_have_the_anchors_of_github() {
    let text = "# A title\n## `posthouse run`, and why?\n```\n# no heading\n```\n## A title";
    assert_eq!(anchors(text), ["a-title", "posthouse-run-and-why", "a-title-1"]);
}
