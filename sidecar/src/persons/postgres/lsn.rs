//! Position in PostgreSQL's WAL.

use std::fmt;

/// A position in the WAL (log sequence number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Lsn(u64);

impl Lsn {
    pub(crate) fn from_u64(place: u64) -> Self {
        Self(place)
    }

    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }

    /// Parses PostgreSQL's form, two hexadecimal numbers of at most 32 bits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let half = |digits: &str| {
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)
        };
        let (high, low) = text.split_once('/')?;
        Some(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        for (text, place) in [("0/0", 0), ("16/B374D848", 0x16_B374_D848), ("FFFFFFFF/FFFFFFFF", u64::MAX)] {
            assert_eq!(Lsn::parse(text), Some(Lsn(place)));
            assert_eq!(Lsn(place).to_string(), text);
        }
        for text in ["", "/", "0", "0/", "g/0", "+1/0", "100000000/0", "0/0/0"] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
    }
}
