//! Functions that give each insert another value, so that a block sent again is another block.

/// Functions with another answer for each insert, in small letters.
const CHANGING: [&str; 10] = [
    "now",
    "now64",
    "nowinblock",
    "today",
    "yesterday",
    "rand",
    "rand64",
    "randconstant",
    "generateuuidv4",
    "generateuuidv7",
];

/// The first of these functions that an expression calls.
pub(crate) fn changing_function(expression: &str) -> Option<&'static str> {
    CHANGING.into_iter().find(|function| calls(expression, function))
}

/// Whether the expression calls `function`, which ClickHouse finds in capital letters too.
fn calls(expression: &str, function: &str) -> bool {
    let expression = expression.to_ascii_lowercase();
    let is_part_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    expression.match_indices(function).any(|(at, _)| {
        let after = expression[at + function.len()..].trim_start();
        !expression[..at].ends_with(is_part_of_name) && after.starts_with('(')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_in_any_case_and_names_are_not() {
        for (expression, function) in [
            ("now64()", Some("now64")),
            ("toDateTime64(NOW ( ), 6)", Some("now")),
            ("generateUUIDv4()", Some("generateuuidv4")),
            ("known(properties)", None),
            ("now_at", None),
        ] {
            assert_eq!(changing_function(expression), function, "{expression}");
        }
    }
}
