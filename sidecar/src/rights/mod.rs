//! Rights that posthouse needs on servers.

mod clickhouse;
mod kafka;
mod missing;
#[cfg(test)]
mod page;

pub(crate) use self::clickhouse::RIGHTS_OF_A_PAUSE;
pub use self::clickhouse::{BASE, CLICKHOUSE_RIGHTS, CommandRights};
pub use self::kafka::KAFKA_RIGHTS;
pub(crate) use self::missing::with_grant;
