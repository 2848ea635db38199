//! Check of the UDFs on a node.
//!
//! All functions must exist and return their examples' results. The shard functions must agree with
//! ClickHouse's own functions on generated ids.

use posthouse_udf::functions::FUNCTIONS;
use serde::{Deserialize, Serialize};

use super::golden::{self, Mismatch};
use super::loaded::registered;
use crate::node::Node;

const COMPARE: &str = include_str!("../../../sql/inspect/udf_check.sql");

/// Generated ids for each list of weights. Covers several blocks and all kinds of ids in less than
/// a second.
pub(crate) const CHECK_ROWS: u64 = 100_000;

/// Shard weights checked besides the config's: one shard, equal weights, unequal weights, and zero
/// weights at either end and in between.
const OTHER_WEIGHTS: [&[u32]; 5] = [&[1], &[1, 1, 1], &[9, 1], &[3, 0, 2], &[0, 5, 0, 7, 1, 0]];

/// Results of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FunctionCheck {
    pub(crate) node: String,
    /// Functions that the node lacks. The others can't be compared then.
    pub(crate) missing: Vec<&'static str>,
    /// Examples of the registry with other results on the node.
    pub(crate) mismatches: Vec<Mismatch>,
    /// One comparison for each list of weights, the config's first.
    pub(crate) compared: Vec<Compared>,
}

impl FunctionCheck {
    /// Whether all functions exist and every result is correct.
    pub(crate) fn is_clean(&self) -> bool {
        self.missing.is_empty()
            && self.mismatches.is_empty()
            && self.compared.iter().all(|compared| compared.answer.differing == 0)
    }
}

/// Comparison for one list of shard weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    pub(crate) weights: Vec<u32>,
    #[serde(flatten)]
    pub(crate) answer: Answer,
}

/// Counts of one comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Number of compared ids.
    pub(crate) rows: u64,
    /// Number of empty ids.
    pub(crate) empty_ids: u64,
    /// Number of ids that are not UTF-8.
    pub(crate) not_utf8: u64,
    /// Number of ids whose key or shard differs from the result of ClickHouse's own functions.
    pub(crate) differing: u64,
    /// The first differing ids.
    pub(crate) first: Vec<ResultDifference>,
}

/// An id with two results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultDifference {
    /// Bytes of the id in hexadecimal.
    pub(crate) distinct_id_hex: String,
    /// Result of `shardKey`.
    pub(crate) key: u64,
    /// Result of `sipHash64`.
    pub(crate) expected_key: u64,
    /// Result of `shardOf`.
    pub(crate) shard: u32,
    /// Shard that owns the key's slot.
    pub(crate) expected_shard: u32,
}

/// Checks that `node` has every function, evaluates the registry's examples, and compares the shard
/// functions on [`CHECK_ROWS`] ids that depend only on `seed`, for the config's `weights` and
/// others.
///
/// # Errors
/// Fails if the node is unreachable or a function fails. Wrong results are part of the return
/// value.
pub(crate) async fn check(node: &Node, weights: &[u32], seed: u64) -> anyhow::Result<FunctionCheck> {
    let registered = registered(node).await?;
    let missing: Vec<&str> = FUNCTIONS
        .iter()
        .map(|function| function.name)
        .filter(|name| registered.iter().all(|found| found.name != *name))
        .collect();
    let (mut mismatches, mut compared) = (Vec::new(), Vec::new());
    if missing.is_empty() {
        mismatches = golden::mismatches(node).await?;
        let others = OTHER_WEIGHTS.into_iter().filter(|other| *other != weights);
        for weights in std::iter::once(weights).chain(others) {
            let answer = differs_for(node, weights, CHECK_ROWS, seed).await?;
            compared.push(Compared { weights: weights.to_vec(), answer });
        }
    }
    Ok(FunctionCheck { node: node.name.clone(), missing, mismatches, compared })
}

/// The error of a function that is installed and returns wrong values.
pub(super) fn wrong_values(node: &Node) -> anyhow::Error {
    anyhow::anyhow!("node {} answers with wrong values: see posthouse udf check", node.name)
}

/// One comparison of `rows` ids.
pub(super) async fn differs_for(
    node: &Node,
    weights: &[u32],
    rows: u64,
    seed: u64,
) -> anyhow::Result<Answer> {
    let query = node.query(COMPARE).param("weights", weights).param("rows", rows).param("seed", seed);
    let mut answers = query.rows::<Answer>().await?;
    // An aggregate without GROUP BY has exactly one row.
    answers.pop().ok_or_else(|| wrong_values(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_functions_and_wrong_answers_are_not_clean() {
        let answer = Answer { rows: 3, empty_ids: 0, not_utf8: 0, differing: 0, first: Vec::new() };
        let right = Compared { weights: vec![1], answer: answer.clone() };
        let wrong = Compared { weights: vec![1], answer: Answer { differing: 1, ..answer } };
        let check = |missing: &[&'static str], compared| FunctionCheck {
            node: "n".to_owned(),
            missing: missing.to_vec(),
            mismatches: Vec::new(),
            compared,
        };
        assert!(check(&[], vec![right.clone()]).is_clean());
        assert!(!check(&["shardKey"], Vec::new()).is_clean());
        let mismatch =
            Mismatch { call: "f()", expected: "1 (UInt8)".to_owned(), found: "2 (UInt8)".to_owned() };
        assert!(!FunctionCheck { mismatches: vec![mismatch], ..check(&[], vec![right.clone()]) }.is_clean());
        assert!(!check(&[], vec![right, wrong]).is_clean());
    }
}
