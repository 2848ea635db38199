//! The reference of the config, made from the example files, which tests hold against the defaults.

use std::fs;

use super::sources::root;

const HEAD: &str = "\
# Configuration

Every key with its default and meaning. This page is generated from the example files: run
`POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib config_reference` after a change. Unknown keys
are errors, and all faults of a file are reported at once, each with its line.

";

#[test]
fn the_page_of_the_config_is_current() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let mut page = HEAD.to_owned();
    for (title, about, path) in [
        (
            "posthouse.toml",
            "The cluster: nodes, Kafka, events, schema, persons, the daemon.",
            "posthouse.example.toml",
        ),
        (
            "A mapping",
            "The columns of foreign Parquet files, for `posthouse backfill`.",
            "mapping.example.toml",
        ),
    ] {
        page.push_str(&format!("## {title}\n\n{about}\n\n```toml\n{}```\n\n", read(path)));
    }
    page.push_str(
        "## topics.toml\n\n[Manage topics](../guides/manage-topics.md) has every key of the topics file, and\n[Limits](../operations/limits.md) the ranges.\n",
    );
    if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
        fs::write(root().join("docs/reference/config.md"), &page).expect("the page can be written");
    }
    assert!(
        read("docs/reference/config.md") == page,
        "docs/reference/config.md is not current; its first lines say how to generate it"
    );
}
