//! The registry's examples on a live node: every answer and its type must be what they have been for ever.

use minijinja::context;
use posthouse_udf::functions::FUNCTIONS;
use serde::{Deserialize, Serialize};

use super::UdfError;
use crate::node::Node;
use crate::sql;

/// An example whose answer is another one on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The expression.
    pub call: &'static str,
    /// The answer that it must have, and its type.
    pub expected: String,
    /// What the node answers, and its type.
    pub found: String,
}

#[derive(Deserialize)]
struct Row {
    data_type: String,
    answer: String,
}

/// Asks `node` for every example of every function. All functions must be there.
///
/// # Errors
/// [`UdfError::Node`] if the node is unreachable or refuses an example, which names the function then.
pub async fn mismatches(node: &Node) -> Result<Vec<Mismatch>, UdfError> {
    let examples: Vec<_> = FUNCTIONS
        .iter()
        .flat_map(|function| function.examples.iter().map(|example| (function.returns, example)))
        .collect();
    let calls: Vec<_> = examples.iter().map(|(_, example)| context! { call => example.call }).collect();
    let sql = sql::render("inspect/udf_golden.sql", context! { examples => calls })
        .map_err(|error| UdfError::Render(Box::new(error)))?;
    let rows: Vec<Row> = node.rows(&sql).await?;
    let line = |answer: &str, data_type: &str| format!("{answer} ({})", one_line(data_type));
    let mut mismatches = Vec::new();
    for (index, (returns, example)) in examples.into_iter().enumerate() {
        let expected = line(example.answer, &returns.to_string());
        let found = rows.get(index).map_or("nothing".to_owned(), |row| line(&row.answer, &row.data_type));
        if expected != found {
            mismatches.push(Mismatch { call: example.call, expected, found });
        }
    }
    Ok(mismatches)
}

/// A type as it stands in a column's header: `toTypeName` breaks tuples into lines.
fn one_line(data_type: &str) -> String {
    data_type.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_in_lines_are_compared_as_one() {
        let shown = "Tuple(\n    `from` UInt32,\n    to UInt32)";
        assert_eq!(one_line(shown), "Tuple(`from` UInt32, to UInt32)");
    }
}
