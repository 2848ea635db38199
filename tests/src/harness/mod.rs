//! Order and prices of the integration tests.

pub mod prices;
mod schedule;

pub use schedule::{Class, Limits, Schedule, Turn};
