//! Check of the registry's examples on a live node.
//!
//! Every result and its type must stay the same in all versions.

use anyhow::Context;
use minijinja::context;
use posthouse_udf::functions::FUNCTIONS;
use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::sql;

/// An example with a different result on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mismatch {
    /// Expression of the example.
    pub(crate) call: &'static str,
    /// Expected result and its type.
    pub(crate) expected: String,
    /// The node's result and its type.
    pub(crate) found: String,
}

#[derive(Deserialize)]
struct GoldenRow {
    data_type: String,
    answer: String,
}

/// Evaluates every example of every function on `node`, which must have all functions.
///
/// # Errors
/// Fails if the node is unreachable or refuses an example. The error names the function.
pub(crate) async fn mismatches(node: &Node) -> anyhow::Result<Vec<Mismatch>> {
    let examples: Vec<_> = FUNCTIONS
        .iter()
        .flat_map(|function| function.examples.iter().map(|example| (function.returns, example)))
        .collect();
    let calls: Vec<_> = examples.iter().map(|(_, example)| context! { call => example.call }).collect();
    let sql = sql::render("inspect/udf_golden.sql", context! { examples => calls })
        .context("can't render a template: please report this")?;
    let rows: Vec<GoldenRow> = node.rows(&sql).await?;
    let line = |answer: &str, data_type: &str| format!("{answer} ({})", one_line(data_type));
    let mut mismatches = Vec::new();
    for (index, (returns, example)) in examples.into_iter().enumerate() {
        let expected = line(example.answer, &returns.to_string());
        let found = rows.get(index).map_or("no row".to_owned(), |row| line(&row.answer, &row.data_type));
        if expected != found {
            mismatches.push(Mismatch { call: example.call, expected, found });
        }
    }
    Ok(mismatches)
}

/// A type as in a column's header. `toTypeName` splits tuples into lines.
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
