//! Result blocks: one column with the row count of the argument block.

use super::{RETAINED_BYTES, WireError, varint};
use crate::signature::{RESULT_NAME, Type};

/// The result of one block, built row by row in ClickHouse's wire format.
#[derive(Debug)]
pub struct Answer {
    data_type: Type,
    /// The header, then the values of the type's first piece; see [`Type::pieces`].
    first: Vec<u8>,
    /// The values of the other pieces.
    others: Vec<Vec<u8>>,
    /// Bytes of a value in each piece.
    widths: Vec<Option<usize>>,
    /// Row count of the argument block.
    expected: usize,
    /// Rows answered so far.
    rows: usize,
    /// Bytes before the first row.
    header: usize,
}

impl Answer {
    /// Creates an empty answer for values of `data_type`.
    pub fn new(data_type: Type) -> Self {
        let widths: Vec<_> = data_type.pieces().into_iter().map(Type::width).collect();
        let others = vec![Vec::new(); widths.len().saturating_sub(1)];
        Self { data_type, first: Vec::new(), others, widths, expected: 0, rows: 0, header: 0 }
    }

    /// Begins the answer to a block of `rows` rows.
    pub fn begin(&mut self, rows: usize) {
        for piece in std::iter::once(&mut self.first).chain(&mut self.others) {
            piece.clear();
            piece.shrink_to(RETAINED_BYTES);
        }
        varint::push(&mut self.first, 1);
        varint::push(&mut self.first, rows);
        push_text(&mut self.first, RESULT_NAME);
        push_type(&mut self.first, &self.data_type.to_string());
        (self.expected, self.rows, self.header) = (rows, 0, self.first.len());
    }

    /// Appends the next row of a function that returns `UInt8`.
    pub fn push_u8(&mut self, value: u8) {
        self.push(&[value], &[]);
    }

    /// Appends the next row of a function that returns `UInt32`.
    pub fn push_u32(&mut self, value: u32) {
        self.push(&value.to_le_bytes(), &[]);
    }

    /// Appends the next row of a function that returns `UInt64`.
    pub fn push_u64(&mut self, value: u64) {
        self.push(&value.to_le_bytes(), &[]);
    }

    /// Appends the next rows of a function that returns `UInt64`.
    #[inline]
    pub fn push_u64s(&mut self, values: &[u64]) {
        self.push_all(values, u64::to_le_bytes);
    }

    /// Appends the next rows of a function that returns `UUID`, each of the number whose
    /// little-endian bytes are in wire order.
    #[inline]
    pub fn push_uuids(&mut self, values: &[u128]) {
        self.push_all(values, u128::to_le_bytes);
    }

    #[inline(always)]
    fn push_all<T: Copy, const N: usize>(&mut self, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
        self.rows += values.len();
        let (eights, others) = values.as_chunks::<8>();
        for eight in eights {
            self.first.extend_from_slice(eight.map(&bytes).as_flattened());
        }
        for value in others {
            self.first.extend_from_slice(&bytes(*value));
        }
    }

    /// Appends the next row of a function that returns `UUID`, in wire order.
    pub fn push_uuid(&mut self, value: [u8; 16]) {
        self.push(&value, &[]);
    }

    /// Appends the next row of a function that returns `Nullable(UUID)`.
    pub fn push_nullable_uuid(&mut self, value: Option<[u8; 16]>) {
        self.push(&[u8::from(value.is_none())], &value.unwrap_or_default());
    }

    /// Appends the next row of a function that returns a tuple of two `UInt32`.
    pub fn push_u32_pair(&mut self, first: u32, second: u32) {
        self.push(&first.to_le_bytes(), &second.to_le_bytes());
    }

    fn push(&mut self, first: &[u8], second: &[u8]) {
        self.rows += 1;
        self.first.extend_from_slice(first);
        if let Some(other) = self.others.first_mut() {
            other.extend_from_slice(second);
        }
    }

    /// Returns the whole block, ready for the pipe.
    ///
    /// # Errors
    /// Fails if the rule answered another number of rows, or values of another width than its type
    /// has.
    pub fn finish(&mut self) -> Result<&[u8], WireError> {
        let first = self.first.len().saturating_sub(self.header);
        let lengths = || std::iter::once(first).chain(self.others.iter().map(Vec::len));
        let right = |(width, length): (&Option<usize>, usize)| {
            width.and_then(|width| self.rows.checked_mul(width)) == Some(length)
        };
        if self.rows != self.expected || !self.widths.iter().zip(lengths()).all(right) {
            let (expected, rows, data_type) = (self.expected, self.rows, self.data_type);
            return Err(WireError::Answer { expected, rows, bytes: lengths().sum(), data_type });
        }
        for other in &self.others {
            self.first.extend_from_slice(other);
        }
        Ok(&self.first)
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    varint::push(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// Appends a type name with its length in two bytes, though one would be enough.
///
/// If a query sets `input_format_native_decode_types_in_binary_format`, the server reads the first
/// byte as a type code. It would read the length of `UInt64` as the code of `UInt256`, and wait for
/// values of that width until its timeout. No code is above 127 ([the
/// codes](https://clickhouse.com/docs/sql-reference/data-types/data-types-binary-encoding)), so a
/// two-byte length makes it refuse at once.
fn push_type(bytes: &mut Vec<u8>, name: &str) {
    match u8::try_from(name.len()) {
        Ok(length @ ..0x80) => {
            bytes.extend_from_slice(&[length | 0x80, 0]);
            bytes.extend_from_slice(name.as_bytes());
        }
        _ => push_text(bytes, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected bytes are ClickHouse's own output, except for the two-byte length of type names.

    #[test]
    fn an_answer_is_the_block_that_the_engine_writes() {
        // SELECT sipHash64(arrayJoin(['user-1', '', '\xff\xfe\x00'])) AS result FORMAT Native
        let written = b"\x01\x03\x06result\x86\0UInt64\
            \x46\xaf\xa2\x40\x29\x7e\x85\x4f\xd7\x00\x77\x73\x9d\x4b\x92\x1e\xd6\x94\xae\x0e\x6d\x37\x8a\xb1";
        let mut answer = Answer::new(Type::UInt64);
        // The second round checks that no bytes of the first are left.
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
        // SELECT toUInt32(7) AS result FROM numbers(300) FORMAT Native, up to the first value
        let mut answer = Answer::new(Type::UInt32);
        answer.begin(300);
        (0..300).for_each(|_| answer.push_u32(7));
        assert_eq!(answer.finish().unwrap()[..19], *b"\x01\xac\x02\x06result\x86\0UInt32\x07");
    }

    #[test]
    fn answers_in_pieces_are_those_that_the_engine_writes() {
        // SELECT CAST(NULL, 'Nullable(UUID)') AS result UNION ALL
        // SELECT toUUID('00112233-4455-6677-8899-aabbccddeeff') FORMAT Native, as one block
        let uuid = *b"\x77\x66\x55\x44\x33\x22\x11\x00\xff\xee\xdd\xcc\xbb\xaa\x99\x88";
        let mut answer = Answer::new(Type::Nullable(&Type::Uuid));
        answer.begin(2);
        answer.push_nullable_uuid(None);
        answer.push_nullable_uuid(Some(uuid));
        let written = [&b"\x01\x02\x06result\x8e\0Nullable(UUID)\x01\x00"[..], &[0; 16], &uuid].concat();
        assert_eq!(answer.finish().unwrap(), written);

        // SELECT CAST((number + 1, number + 8), 'Tuple(from UInt32, to UInt32)') AS result FROM
        // numbers(2)
        let mut answer = Answer::new(Type::Tuple(&[("`from`", Type::UInt32), ("to", Type::UInt32)]));
        for _ in 0..2 {
            answer.begin(2);
            answer.push_u32_pair(1, 8);
            answer.push_u32_pair(2, 9);
            let written = b"\x01\x02\x06result\x9f\0Tuple(`from` UInt32, to UInt32)\
                \x01\0\0\0\x02\0\0\0\x08\0\0\0\x09\0\0\0";
            assert_eq!(answer.finish().unwrap(), written);
        }
        answer.begin(1);
        answer.push_u32(1);
        assert!(matches!(answer.finish(), Err(WireError::Answer { bytes: 4, .. })));
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
