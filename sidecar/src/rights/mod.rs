//! Rights that posthouse needs on servers.

mod clickhouse;
mod kafka;
mod missing;
#[cfg(test)]
mod page;

pub use self::clickhouse::{BASE, CLICKHOUSE_RIGHTS, CommandRights};
pub(crate) use self::clickhouse::{RIGHTS_OF_A_PAUSE, RIGHTS_OF_A_TAKEOVER};
pub use self::kafka::KAFKA_RIGHTS;
pub(crate) use self::missing::with_grant;
