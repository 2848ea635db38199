//! Blocks of results: one column, as many rows as the block of arguments has.

use super::{RETAINED_BYTES, WireError};
use crate::signature::{RESULT_NAME, Type};

/// The result of one block, built row by row in the form in which ClickHouse reads it.
#[derive(Debug)]
pub struct Answer {
    data_type: Type,
    bytes: Vec<u8>,
    /// Rows the block of arguments has.
    expected: usize,
    /// Rows answered so far.
    rows: usize,
    /// Bytes before the first row.
    header: usize,
}

impl Answer {
    /// Answers with values of `data_type`.
    pub fn new(data_type: Type) -> Self {
        Self { data_type, bytes: Vec::new(), expected: 0, rows: 0, header: 0 }
    }

    /// Begins the answer to a block of `rows` rows.
    pub fn begin(&mut self, rows: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(RETAINED_BYTES);
        push_varint(&mut self.bytes, 1);
        push_varint(&mut self.bytes, rows);
        push_text(&mut self.bytes, RESULT_NAME);
        push_text(&mut self.bytes, &self.data_type.to_string());
        (self.expected, self.rows, self.header) = (rows, 0, self.bytes.len());
    }

    /// Answers the next row of a function that returns `UInt32`.
    pub fn push_u32(&mut self, value: u32) {
        self.rows += 1;
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Answers the next row of a function that returns `UInt64`.
    pub fn push_u64(&mut self, value: u64) {
        self.rows += 1;
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// The whole block, ready for the pipe.
    ///
    /// # Errors
    /// The rule answered another number of rows, or values of another width than its type has.
    pub fn finish(&self) -> Result<&[u8], WireError> {
        let bytes = self.bytes.len().saturating_sub(self.header);
        let right_width = match self.data_type.width() {
            Some(width) => self.rows.checked_mul(width) == Some(bytes),
            None => true,
        };
        if right_width && self.rows == self.expected {
            return Ok(&self.bytes);
        }
        let (expected, rows, data_type) = (self.expected, self.rows, self.data_type);
        Err(WireError::Answer { expected, rows, bytes, data_type })
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    push_varint(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_block_that_the_engine_writes() {
        // SELECT sipHash64(arrayJoin(['user-1', '', '\xff\xfe\x00'])) AS result FORMAT Native
        let written = b"\x01\x03\x06result\x06UInt64\
            \x46\xaf\xa2\x40\x29\x7e\x85\x4f\xd7\x00\x77\x73\x9d\x4b\x92\x1e\xd6\x94\xae\x0e\x6d\x37\x8a\xb1";
        let mut answer = Answer::new(Type::UInt64);
        // The second round shows that nothing of the first is left.
        for _ in 0..2 {
            answer.begin(3);
            for key in [5730124816541986630, 2202906307356721367, 12793098633036600534] {
                answer.push_u64(key);
            }
            assert_eq!(answer.finish().unwrap(), written);
        }
    }

    #[test]
    fn row_counts_above_127_take_several_bytes() {
        // SELECT toUInt32(7) AS result FROM numbers(300) FORMAT Native, the first 18 bytes
        let mut answer = Answer::new(Type::UInt32);
        answer.begin(300);
        (0..300).for_each(|_| answer.push_u32(7));
        assert_eq!(answer.finish().unwrap()[..18], *b"\x01\xac\x02\x06result\x06UInt32\x07");
    }

    #[test]
    fn wrong_answers_are_not_sent() {
        let mut answer = Answer::new(Type::UInt32);
        answer.begin(2);
        answer.push_u32(1);
        assert!(matches!(answer.finish(), Err(WireError::Answer { expected: 2, rows: 1, .. })));
        answer.push_u64(2);
        assert!(matches!(answer.finish(), Err(WireError::Answer { expected: 2, rows: 2, bytes: 12, .. })));
    }
}
