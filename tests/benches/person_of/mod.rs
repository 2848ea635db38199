//! Unique persons of events: `personOf` against JOINs and dictionaries.
//!
//! All doors answer the same query over the same rows in one run, in turn. Their answers are
//! compared.

mod data;
mod doors;
mod freshness;
mod one_hundred_million;
mod refresh;
mod restart;
mod rounds;
mod scales;
mod wait;

pub(crate) use freshness::run as freshness;
pub(crate) use one_hundred_million::{FIGURE as ONE_HUNDRED_MILLION, run as one_hundred_million};
pub(crate) use refresh::run as refresh;
pub(crate) use scales::{figures, run};
