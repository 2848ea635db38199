//! The statement that gives a missing right, from a refusal of ClickHouse.

/// ClickHouse's words before the missing right.
const BEFORE: &str = "it's necessary to have the grant ";
/// ClickHouse's words between the user and the refusal.
const AFTER_USER: &str = ": Not enough privileges";
/// ClickHouse's words for a SELECT of any column.
const ANY_COLUMN: &str = "SELECT for at least one column on ";

/// Returns a refusal (`ACCESS_DENIED`) with the GRANT that resolves it.
pub(crate) fn with_grant(message: &str) -> String {
    let Some(right) = missing_right(message) else { return message.to_owned() };
    let user = message.split_once(AFTER_USER).map_or("", |(user, _)| user);
    let to = if user.is_empty() { "the user of clickhouse.user".to_owned() } else { name(user) };
    format!("{message}: GRANT {right} TO {to}, or in users.xml; see Permissions in the documentation")
}

/// The right without the list of its columns, because a statement of the next version may read
/// other columns.
fn missing_right(message: &str) -> Option<String> {
    let (_, rest) = message.split_once(BEFORE)?;
    // A Distributed table appends the status of its insert.
    let end = [". ", ": ", " (ACCESS_DENIED)"].iter().filter_map(|end| rest.find(end)).min();
    let right = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('.');
    if let Some(table) = right.strip_prefix(ANY_COLUMN) {
        return Some(format!("SELECT ON {table}"));
    }
    let (mut shown, mut depth) = (String::new(), 0_u32);
    for character in right.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => shown.push(character),
            _ => {}
        }
    }
    Some(shown)
}

fn name(user: &str) -> String {
    let is_plain = user.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain { user.to_owned() } else { format!("`{}`", user.replace('`', "\\`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_gets_the_statement_that_gives_the_right() {
        for (right, grant) in [
            ("SELECT(name, value) ON system.settings. (ACCESS_DENIED)", "SELECT ON system.settings TO ph"),
            ("SELECT for at least one column on a.b. (ACCESS_DENIED)", "SELECT ON a.b TO ph"),
            (
                "ALTER DROP COLUMN(x), ALTER ADD COLUMN(y) ON a.b. (Missing permissions: ALTER) (ACCESS_DENIED)",
                "ALTER DROP COLUMN, ALTER ADD COLUMN ON a.b TO ph",
            ),
            ("SYSTEM RELOAD FUNCTION ON *.* (ACCESS_DENIED)", "SYSTEM RELOAD FUNCTION ON *.* TO ph"),
            ("INSERT(x) ON a.b: Insertion status: 0 rows (ACCESS_DENIED)", "INSERT ON a.b TO ph"),
            ("SHOW SETTINGS PROFILES ON *.*", "SHOW SETTINGS PROFILES ON *.* TO ph"),
        ] {
            let message = format!("ph: Not enough privileges. To execute this query, {BEFORE}{right}");
            let shown = with_grant(&message);
            assert!(shown.starts_with(&format!("{message}: GRANT {grant}, or in users.xml")), "{shown}");
        }
        assert_eq!(
            with_grant("Cannot execute query in readonly mode"),
            "Cannot execute query in readonly mode"
        );
        assert!(with_grant(&format!("{BEFORE}X")).contains("GRANT X TO the user of clickhouse.user"));
        assert!(with_grant(&format!("a b{AFTER_USER}. {BEFORE}X. (")).contains("TO `a b`"));
    }
}
