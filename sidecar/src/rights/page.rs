//! The tables of the page of permissions, made from the rights.

use std::fmt::Write;

use super::clickhouse::{BASE, CLICKHOUSE_RIGHTS};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/permissions.md");
const BEGIN: &str =
    "<!-- ClickHouse, generated: POSTHOUSE_WRITE_DOCS=1 cargo test --workspace --lib rights -->\n";
const END: &str = "<!-- end -->\n";

fn code(grants: &[&str]) -> String {
    grants.iter().map(|grant| format!("`{grant}`")).collect::<Vec<_>>().join("<br>")
}

fn clickhouse() -> String {
    let mut page = "\n| for | grants |\n|---|---|\n".to_owned();
    // Writing to a String does not fail.
    let _ = writeln!(page, "| every command that connects | {} |", code(BASE));
    for row in CLICKHOUSE_RIGHTS {
        let _ = writeln!(page, "| {} | {} |", row.commands, code(row.grants));
    }
    page.push_str(
        "\nWithout these rights a command does less:\n\n| for | grant | without it |\n|---|---|---|\n",
    );
    for row in CLICKHOUSE_RIGHTS {
        for (grant, loss) in row.optional {
            let _ = writeln!(page, "| {} | `{grant}` | {loss} |", row.commands);
        }
    }
    page + "\n"
}

#[test]
fn the_page_of_permissions_has_the_tables_of_the_rights() {
    let written = std::fs::read_to_string(PATH).expect("docs/reference/permissions.md");
    let (before, rest) = written.split_once(BEGIN).expect("the beginning of the tables");
    let (_, after) = rest.split_once(END).expect("the end of the tables");
    let page = [before, BEGIN, &clickhouse(), END, after].concat();
    if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
        std::fs::write(PATH, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(PATH).expect("docs/reference/permissions.md");
    assert!(written == page, "docs/reference/permissions.md is not current: a comment says how to make it");
}

#[test]
fn each_row_has_a_name_of_its_own() {
    for (index, row) in CLICKHOUSE_RIGHTS.iter().enumerate() {
        assert!(CLICKHOUSE_RIGHTS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
        assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", row.name);
        let all = row.grants.iter().chain(row.optional.iter().map(|(grant, _)| grant));
        for grant in all {
            assert!(grant.contains(" ON ") && !grant.contains(['|', '`', ';']), "{grant}");
        }
    }
}
