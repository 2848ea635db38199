//! Arrow batches as events, by a mapping that is checked before the first row.

mod bind;
mod error;
mod file;
mod find;
mod iso;
mod json;
mod mapper;
mod mapping;
mod moment;
mod number;
mod quarantine;
mod team;
mod text;
mod uuid;
mod zone;

pub use self::error::MappingError;
pub use self::mapper::{Mapped, Mapper, Reject};
pub use self::mapping::{Mapping, PRESETS};
pub use self::quarantine::{Quarantine, QuarantineError};

#[cfg(test)]
mod tests;
