//! What the integration tests, kill tests and benchmarks of posthouse stand on: the real servers.

pub mod daemon;
pub mod demo;
pub mod events;
pub mod harness;
pub mod history;
pub mod load;
pub mod people;
pub mod site;
pub mod stack;
pub mod torture;
