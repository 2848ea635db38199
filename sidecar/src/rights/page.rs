//! The tables of the page of permissions, made from the rights.

use std::fmt::Write;

use super::CommandRights;
use super::clickhouse::{BASE, CLICKHOUSE_RIGHTS};
use super::kafka::KAFKA_RIGHTS;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/permissions.md");
const CLICKHOUSE: &str =
    "<!-- ClickHouse, generated: POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib rights -->\n";
const KAFKA: &str = "<!-- Kafka, generated: POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib rights -->\n";
const END: &str = "<!-- end -->\n";

fn code(grants: &[&str]) -> String {
    grants.iter().map(|grant| format!("`{grant}`")).collect::<Vec<_>>().join("<br>")
}

fn clickhouse() -> String {
    let mut page = "\n| for | grants |\n|---|---|\n".to_owned();
    // Writing to a String does not fail.
    let _ = writeln!(page, "| every command that connects | {} |", code(BASE));
    rows(&mut page, CLICKHOUSE_RIGHTS);
    page
}

fn kafka() -> String {
    let mut page = "\n| for | rights |\n|---|---|\n".to_owned();
    rows(&mut page, KAFKA_RIGHTS);
    page
}

/// Adds the rows of a table, and a table of the rights without which a command does less.
fn rows(page: &mut String, all: &[CommandRights]) {
    for row in all {
        let rights = if row.grants.is_empty() { "none".to_owned() } else { code(row.grants) };
        let _ = writeln!(page, "| {} | {rights} |", row.commands);
    }
    page.push_str(
        "\nWithout these rights a command does less:\n\n| for | right | without it |\n|---|---|---|\n",
    );
    for row in all {
        for (right, loss) in row.optional {
            let _ = writeln!(page, "| {} | `{right}` | {loss} |", row.commands);
        }
    }
    page.push('\n');
}

/// Replaces the text between a mark and the end of its tables.
fn replaced(page: &str, mark: &str, tables: &str) -> String {
    let (before, rest) = page.split_once(mark).expect("the beginning of the tables");
    let (_, after) = rest.split_once(END).expect("the end of the tables");
    [before, mark, tables, END, after].concat()
}

#[test]
fn the_page_of_permissions_has_the_tables_of_the_rights() {
    let written = std::fs::read_to_string(PATH).expect("docs/reference/permissions.md");
    let page = replaced(&replaced(&written, CLICKHOUSE, &clickhouse()), KAFKA, &kafka());
    if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
        std::fs::write(PATH, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(PATH).expect("docs/reference/permissions.md");
    assert!(written == page, "docs/reference/permissions.md is not current: a comment says how to make it");
}

#[test]
fn each_row_has_a_name_of_its_own() {
    for table in [CLICKHOUSE_RIGHTS, KAFKA_RIGHTS] {
        for (index, row) in table.iter().enumerate() {
            assert!(table[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", row.name);
            let all = row.grants.iter().chain(row.optional.iter().map(|(grant, _)| grant));
            for grant in all {
                let is_right = grant.to_lowercase().contains(" on ") && !grant.contains(['|', '`', ';']);
                assert!(is_right, "{grant}");
            }
        }
    }
}
