//! Test library of posthouse: real servers, load generators and kill tests.

pub mod daemon;
pub mod demo;
pub mod events;
pub mod harness;
pub mod history;
pub mod load;
pub mod people;
pub mod runnable;
pub mod secrets;
pub mod site;
pub mod stack;
pub mod torture;
pub mod traffic;

#[cfg(test)]
mod house;
