//! Imports between the files of the sidecar, which form no circle.
//!
//! A path counts as an import of the file that defines its name; re-exports are followed. The
//! `mod.rs` of a folder may use the files below it and hold types that they share, so its arrows to
//! these do not count.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{is_comment, library};

const FOLDER: &str = "sidecar/src";

/// Modules of a crate by path, `[]` for the root.
type Modules = BTreeMap<Vec<String>, Module>;

#[derive(Debug, Default)]
struct Module {
    /// Names that it declares or re-exports, each re-export with its path.
    names: BTreeMap<String, Option<Vec<String>>>,
    /// Paths that its code uses, from the root.
    uses: BTreeSet<Vec<String>>,
}

/// The module of a file.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches(FOLDER).trim_start_matches('/').trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|part| !matches!(*part, "lib" | "main")).map(str::to_owned).collect()
}

/// Code without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n")
}

/// Paths that start at `at` in `text`, with braces multiplied out, and how long they are.
fn tree(text: &str) -> (Vec<Vec<String>>, usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let end = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(below) = rest.strip_prefix("::") else { return (vec![vec![name.to_owned()]], end) };
    let (mut paths, mut length) = (Vec::new(), end + 2);
    if let Some(list) = below.strip_prefix('{') {
        let mut at = 0;
        while let Some(start) = list[at..].find(|c: char| is_word(c) || c == '}') {
            at += start;
            if list[at..].starts_with('}') {
                break;
            }
            let (found, used) = tree(&list[at..]);
            paths.extend(found);
            at += used;
        }
        length += at + 2;
    } else if below.starts_with(is_word) {
        let (found, used) = tree(below);
        paths.extend(found);
        length += used;
    } else {
        paths.push(Vec::new());
    }
    for path in &mut paths {
        path.insert(0, name.to_owned());
    }
    (paths, length)
}

/// A path from the root of the crate, if it begins with one of Rust's keywords.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let (base, skipped) = match path.first()?.as_str() {
        "crate" => (&[][..], 1),
        "self" => (module, 1),
        "super" => (module.get(..module.len().checked_sub(ups)?)?, ups),
        _ => return None,
    };
    Some(base.iter().chain(&path[skipped..]).filter(|part| *part != "self").cloned().collect())
}

fn read(text: &str, path: &[String]) -> Module {
    let (code, mut module) = (code(text), Module::default());
    for keyword in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(keyword) {
            let before = &code[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let paths = tree(&code[at..]).0.into_iter().filter_map(|found| absolute(&found, path));
            let is_export =
                before.lines().last().is_some_and(|line| line.starts_with("pub") && line.ends_with("use "));
            for found in paths {
                let name = found.last().cloned().unwrap_or_default();
                if is_export {
                    module.names.insert(name, Some(found));
                } else {
                    module.uses.insert(found);
                }
            }
        }
    }
    module
}

/// The module that defines the first name of `path` behind a module.
fn definition(modules: &Modules, path: &[String]) -> Option<Vec<String>> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (module, rest) = path.split_at(length);
    match rest.first().and_then(|name| modules[module].names.get(name)) {
        Some(Some(export)) => definition(modules, export),
        _ => Some(module.to_vec()),
    }
}

/// A circle of modules, if there is one.
fn circle(arrows: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Option<Vec<Vec<String>>> {
    let mut open = arrows.clone();
    // Modules without an arrow are in no circle, nor is a module whose arrows all lead to these.
    loop {
        let ends: Vec<_> = open.iter().filter(|(_, to)| to.iter().all(|to| !open.contains_key(to))).collect();
        let ends: Vec<Vec<String>> = ends.into_iter().map(|(from, _)| from.clone()).collect();
        if ends.is_empty() {
            break;
        }
        open.retain(|module, _| !ends.contains(module));
    }
    let mut walk = vec![open.keys().next()?.clone()];
    loop {
        let next = open[walk.last()?].iter().find(|to| open.contains_key(*to))?.clone();
        if let Some(start) = walk.iter().position(|module| *module == next) {
            return Some(walk.split_off(start));
        }
        walk.push(next);
    }
}

#[test]
fn files_of_the_sidecar_form_no_circle() {
    let sources = library(FOLDER);
    let modules: Modules = sources
        .iter()
        .filter(|(path, _)| !path.ends_with("src/main.rs"))
        .map(|(path, text)| (module(path), read(text, &module(path))))
        .collect();
    let arrows: BTreeMap<_, BTreeSet<_>> = modules
        .iter()
        .map(|(path, module)| {
            let to = module.uses.iter().filter_map(|used| definition(&modules, used));
            (path.clone(), to.filter(|to| !to.starts_with(path) && !to.is_empty()).collect())
        })
        .collect();
    assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 300, "imports are not recognized");
    let found = circle(&arrows).map(|circle| circle.iter().map(|path| path.join("::")).collect::<Vec<_>>());
    assert!(found.is_none(), "these files import each other: {found:#?}");
}

#[test]
fn multiplies_braces_out() {
    let (paths, length) = tree("super::a::{b::{C, self}, d}; rest");
    let paths: Vec<String> = paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["super::a::b::C", "super::a::b::self", "super::a::d"]);
    assert_eq!(length, "super::a::{b::{C, self}, d}".len());
}
