//! PostgreSQL sessions, tables, replication slot and replication protocol.

pub(super) mod connection;
pub(super) mod session;

pub(super) mod row;
pub(super) mod table;

pub(super) mod lsn;
pub(super) mod slot;
pub(super) mod slot_creation;

pub(super) mod pgoutput;
pub(super) mod replication;
