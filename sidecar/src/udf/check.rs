//! Whether our functions are on a node, answer their examples, and agree with the server's own on generated ids.

use posthouse_udf::functions::FUNCTIONS;
use serde::{Deserialize, Serialize};

use super::UdfError;
use super::golden::{self, Mismatch};
use super::loaded::registered;
use crate::node::Node;

const COMPARE: &str = include_str!("../../../sql/inspect/udf_check.sql");

/// Generated ids for each list of weights: more than one block, of all kinds, and still less than a second.
pub const CHECK_ROWS: u64 = 100_000;

/// Shard weights that are tried besides the config's own: one shard, equal ones, unequal ones, and some that take
/// nothing, at either end and in between.
const OTHER_WEIGHTS: [&[u32]; 5] = [&[1], &[1, 1, 1], &[9, 1], &[3, 0, 2], &[0, 5, 0, 7, 1, 0]];

/// What one node answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The node.
    pub node: String,
    /// Functions that it does not have; the others can't be compared then.
    pub missing: Vec<&'static str>,
    /// Examples of the registry that it answers otherwise.
    pub mismatches: Vec<Mismatch>,
    /// One comparison for each list of weights, the config's own first.
    pub compared: Vec<Compared>,
}

impl Check {
    /// Whether all functions are there and every answer was right.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty()
            && self.mismatches.is_empty()
            && self.compared.iter().all(|compared| compared.answer.differing == 0)
    }
}

/// The comparison for one list of shard weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The weights.
    pub weights: Vec<u32>,
    /// What came out.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What the node counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Ids compared.
    pub rows: u64,
    /// Those without a byte.
    pub empty_ids: u64,
    /// Those that are not UTF-8.
    pub not_utf8: u64,
    /// Those for which key or shard is not what the server's own functions say.
    pub differing: u64,
    /// The first of those.
    pub first: Vec<Difference>,
}

/// An id with two answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The id's bytes in hex.
    pub distinct_id_hex: String,
    /// What `shardKey` says.
    pub key: u64,
    /// What `sipHash64` says.
    pub expected_key: u64,
    /// What `shardOf` says.
    pub shard: u32,
    /// The shard that owns the key's slot.
    pub expected_shard: u32,
}

/// Looks for every function on `node`, asks it for the registry's examples, and compares the shard functions on [`CHECK_ROWS`] ids that depend only on `seed`, for the
/// `weights` of the config and some others.
///
/// # Errors
/// [`UdfError::Node`] if the node is unreachable or a function fails; wrong answers are in the result.
pub async fn check(node: &Node, weights: &[u32], seed: u64) -> Result<Check, UdfError> {
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
    Ok(Check { node: node.name.clone(), missing, mismatches, compared })
}

/// One comparison on `rows` ids.
pub(super) async fn differs_for(
    node: &Node,
    weights: &[u32],
    rows: u64,
    seed: u64,
) -> Result<Answer, UdfError> {
    let query = node.query(COMPARE).param("weights", weights).param("rows", rows).param("seed", seed);
    let mut answers = query.rows::<Answer>().await?;
    // An aggregate without GROUP BY has exactly one row.
    answers.pop().ok_or_else(|| UdfError::Wrong { node: node.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_functions_and_wrong_answers_are_not_clean() {
        let answer = Answer { rows: 3, empty_ids: 0, not_utf8: 0, differing: 0, first: Vec::new() };
        let right = Compared { weights: vec![1], answer: answer.clone() };
        let wrong = Compared { weights: vec![1], answer: Answer { differing: 1, ..answer } };
        let check = |missing: &[&'static str], compared| Check {
            node: "n".to_owned(),
            missing: missing.to_vec(),
            mismatches: Vec::new(),
            compared,
        };
        assert!(check(&[], vec![right.clone()]).is_clean());
        assert!(!check(&["shardKey"], Vec::new()).is_clean());
        let mismatch =
            Mismatch { call: "f()", expected: "1 (UInt8)".to_owned(), found: "2 (UInt8)".to_owned() };
        assert!(!Check { mismatches: vec![mismatch], ..check(&[], vec![right.clone()]) }.is_clean());
        assert!(!check(&[], vec![right, wrong]).is_clean());
    }
}
