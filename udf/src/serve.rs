//! Main loop of a pooled process.
//!
//! Each round reads a block, computes its answer, writes and flushes it. The loop ends when the
//! server closes the pipe.

use std::io::{self, Read, Write};

use thiserror::Error;

use crate::functions::{Function, RuleError};
use crate::wire::{Answer, BlockReader, WireError};

/// Reason why a process stops before the server closes its input.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A block can't be read, or its answer is malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A block has no answer.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The answer can't be written.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

impl ServeError {
    /// Whether the server has exited or cancelled the query, so that an error would have no reader.
    pub fn is_abandoned(&self) -> bool {
        matches!(self, Self::Write(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Answers every block of `input` with one block on `output`, in order, until `input` ends between
/// two blocks.
///
/// An answer is written only if all rows of its block have one and no bytes of the block are left.
/// Neither end needs buffering, because both are read and written in large pieces.
///
/// # Errors
/// Fails on the first block that can't be read, answered or written. If two blocks arrived
/// together, an invalid start of the second fails the first. All earlier blocks have been answered.
pub fn serve(function: &Function, input: impl Read, mut output: impl Write) -> Result<(), ServeError> {
    let mut blocks = BlockReader::new(function.arguments, input)?;
    let mut answer = Answer::new(function.returns);
    while let Some(rows) = blocks.next_block()? {
        answer.begin(rows);
        while let Some(block) = blocks.next_rows()? {
            let consumed = (function.rule)(&block, &mut answer)?;
            blocks.consume(consumed)?;
        }
        blocks.expect_end()?;
        output.write_all(answer.finish()?).map_err(ServeError::Write)?;
        output.flush().map_err(ServeError::Write)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;
    use crate::functions::{FUNCTIONS, Type, find};
    use crate::shard::shard_key;

    // SELECT arrayJoin(['user-1', '', '\xff\xfe\x00']) AS distinct_id FORMAT Native
    const KEY_BLOCK: &[u8] = b"\x01\x03\x0bdistinct_id\x06String\x06user-1\x00\x03\xff\xfe\x00";
    // SELECT sipHash64(arrayJoin(['user-1', '', '\xff\xfe\x00'])) AS result FORMAT Native
    const KEY_ANSWER: &[u8] = b"\x01\x03\x06result\x86\0UInt64\
        \x46\xaf\xa2\x40\x29\x7e\x85\x4f\xd7\x00\x77\x73\x9d\x4b\x92\x1e\xd6\x94\xae\x0e\x6d\x37\x8a\xb1";

    // SELECT ['user-2', 'user-3', 'user-3', 'user-7', 'user-0', 'user-2'][number + 1]
    //   AS distinct_id,
    // [[3,0,2], [3,0,2], [9,1], [9,1], [0,5,0,7,1], [0,5,0,7,1]][number + 1]::Array(UInt32)
    //   AS weights FROM numbers(6) FORMAT Native
    const SHARD_BLOCK: &[u8] = b"\x02\x06\x0bdistinct_id\x06String\
        \x06user-2\x06user-3\x06user-3\x06user-7\x06user-0\x06user-2\
        \x07weights\x0dArray(UInt32)\
        \x03\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\
        \x0a\0\0\0\0\0\0\0\x0f\0\0\0\0\0\0\0\x14\0\0\0\0\0\0\0\
        \x03\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\
        \x09\0\0\0\x01\0\0\0\x09\0\0\0\x01\0\0\0\
        \0\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\
        \0\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0";
    // SELECT [3, 3, 2, 2, 2, 4][number + 1]::UInt32 AS result FROM numbers(6) FORMAT Native.
    // The numbers are the shards where a Distributed table with these weights put these rows.
    const SHARD_ANSWER: &[u8] = b"\x01\x06\x06result\x86\0UInt32\
        \x03\0\0\0\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02\0\0\0\x04\0\0\0";

    /// Returns the output of a process that serves `name`, and its final result.
    fn run(name: &str, input: impl Read) -> (Vec<u8>, Result<(), ServeError>) {
        let mut output = Vec::new();
        let end = serve(find(name).unwrap(), input, &mut output);
        (output, end)
    }

    /// Returns the error with its causes, as the binary prints it.
    fn refusal(name: &str, input: &[u8]) -> String {
        let (output, end) = run(name, input);
        assert!(output.is_empty(), "an answer was written before the error");
        let error = end.unwrap_err();
        match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }
    }

    fn varint(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        [&varint(bytes.len()), bytes].concat()
    }

    /// Encodes a type name as answers do: the length takes two bytes.
    fn type_name(name: &str) -> Vec<u8> {
        [&[name.len() as u8 | 0x80, 0], name.as_bytes()].concat()
    }

    fn key_block(ids: &[Vec<u8>]) -> Vec<u8> {
        let ids_on_wire: Vec<u8> = ids.iter().flat_map(|id| text(id)).collect();
        [vec![1], varint(ids.len()), text(b"distinct_id"), text(b"String"), ids_on_wire].concat()
    }

    fn key_answer(ids: &[Vec<u8>]) -> Vec<u8> {
        let keys: Vec<u8> = ids.iter().flat_map(|id| shard_key(id).to_le_bytes()).collect();
        [vec![1], varint(ids.len()), text(b"result"), type_name("UInt64"), keys].concat()
    }

    /// Random generator with a printed seed; `SEED=… cargo test` replays it.
    fn random() -> StdRng {
        let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        StdRng::seed_from_u64(seed)
    }

    /// A pipe that returns 1 to `most` bytes per read, with occasional interrupts.
    struct Trickle<'a>(&'a [u8], usize, StdRng);

    impl Read for Trickle<'_> {
        fn read(&mut self, free: &mut [u8]) -> io::Result<usize> {
            if self.2.random_ratio(1, 10) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = self.2.random_range(1..=self.1).min(free.len());
            self.0.read(&mut free[..count])
        }
    }

    #[test]
    fn blocks_of_the_engine_get_the_answers_of_the_engine() {
        for (name, block, answer) in
            [("shardKey", KEY_BLOCK, KEY_ANSWER), ("shardOf", SHARD_BLOCK, SHARD_ANSWER)]
        {
            let (output, end) = run(name, &*block.repeat(3));
            end.unwrap();
            assert_eq!(output, answer.repeat(3), "{name}");
        }
    }

    #[test]
    fn every_function_answers_a_row_of_its_own_signature() {
        fn value(data_type: Type) -> Vec<u8> {
            match (data_type, data_type.width()) {
                (_, Some(width)) => [vec![1], vec![0; width - 1]].concat(),
                (Type::Array(item), _) => [value(Type::UInt64), value(*item)].concat(),
                _ => text(b"generation"),
            }
        }
        let folder = tempfile::tempdir().unwrap();
        crate::functions::index::use_empty_index(folder.path());
        for function in FUNCTIONS {
            let mut block = vec![u8::try_from(function.arguments.len()).unwrap(), 1];
            for argument in function.arguments {
                block.extend(text(argument.name.as_bytes()));
                block.extend(text(argument.data_type.to_string().as_bytes()));
                block.extend(value(argument.data_type));
            }
            let (output, end) = run(function.name, &*block);
            end.unwrap();
            let header = [vec![1, 1], text(b"result"), type_name(&function.returns.to_string())].concat();
            assert!(output.starts_with(&header) && output.len() > header.len(), "{function}: {output:?}");
        }
    }

    #[test]
    fn no_input_is_a_clean_end() {
        let (output, end) = run("shardKey", io::empty());
        end.unwrap();
        assert!(output.is_empty());
    }

    #[test]
    fn blocks_without_rows_are_answered_without_rows() {
        // ClickHouse doesn't call a function for zero rows, and Native omits empty blocks.
        let (output, end) =
            run("shardOf", &b"\x02\x00\x0bdistinct_id\x06String\x07weights\x0dArray(UInt32)"[..]);
        end.unwrap();
        assert_eq!(output, b"\x01\x00\x06result\x86\0UInt32");
    }

    #[test]
    fn blocks_may_come_in_pieces_of_any_size() {
        let mut random = random();
        for most in [1, 3, 100, 100_000] {
            let blocks: Vec<Vec<Vec<u8>>> =
                (0..random.random_range(1..6)).map(|_| any_ids(&mut random)).collect();
            let input: Vec<u8> = blocks.iter().flat_map(|ids| key_block(ids)).collect();
            let (output, end) =
                run("shardKey", Trickle(&input, most, StdRng::seed_from_u64(random.random())));
            end.unwrap();
            let answers: Vec<u8> = blocks.iter().flat_map(|ids| key_answer(ids)).collect();
            assert!(output == answers, "pieces of up to {most} bytes");

            let input = SHARD_BLOCK.repeat(3);
            let (output, end) = run("shardOf", Trickle(&input, most, StdRng::seed_from_u64(random.random())));
            end.unwrap();
            assert_eq!(output, SHARD_ANSWER.repeat(3));
        }
    }

    /// Returns ids of different lengths, or of one length with a few exceptions.
    fn any_ids(random: &mut StdRng) -> Vec<Vec<u8>> {
        let (first, others) = (any_id(random), [0.0, 0.03, 1.0][random.random_range(0..3)]);
        let rows = random.random_range(0..300);
        (0..rows).map(|_| if random.random_bool(others) { any_id(random) } else { first.clone() }).collect()
    }

    /// Returns an id that is mostly short, sometimes too long for a length of one or two bytes.
    fn any_id(random: &mut StdRng) -> Vec<u8> {
        let most = [10, 200, 20_000][random.random_range(0..40_usize).saturating_sub(37)];
        let mut id = vec![0; random.random_range(0..most)];
        random.fill_bytes(&mut id);
        id
    }

    #[test]
    fn input_cut_anywhere_but_between_blocks_is_an_error() {
        for (name, block, answer) in
            [("shardKey", KEY_BLOCK, KEY_ANSWER), ("shardOf", SHARD_BLOCK, SHARD_ANSWER)]
        {
            let input = block.repeat(2);
            for cut in 0..=input.len() {
                let (output, end) = run(name, &input[..cut]);
                assert_eq!(output, answer.repeat(cut / block.len()), "{name} cut after {cut} bytes");
                if cut % block.len() == 0 {
                    end.unwrap();
                } else {
                    let cut_short = matches!(end, Err(ServeError::Wire(WireError::End { .. })));
                    assert!(cut_short, "{name} cut after {cut} bytes: {end:?}");
                }
            }
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let mut random = random();
        for _ in 0..2000 {
            let mut garbage = vec![0; random.random_range(1..200)];
            random.fill_bytes(&mut garbage);
            for function in FUNCTIONS {
                run(function.name, &*garbage).1.unwrap_err();
            }
            // A block with one wrong byte may still be a valid block, or a shorter one. Any output
            // must consist of complete answers.
            for (name, block, width) in [("shardKey", KEY_BLOCK, 8), ("shardOf", SHARD_BLOCK, 4)] {
                let mut block = block.to_vec();
                let place = random.random_range(0..block.len());
                block[place] = random.random();
                let (output, _) = run(name, &*block);
                assert!(is_whole_answers(&output, width), "byte {place} of {name}: {output:?}");
            }
        }
    }

    /// Whether `output` is a sequence of answers, each with less than 128 rows of `width` bytes.
    fn is_whole_answers(mut output: &[u8], width: usize) -> bool {
        let header = KEY_ANSWER.len() - 3 * 8;
        while let [1, rows @ ..0x80, rest @ ..] = output {
            let next = output.get(header + usize::from(*rows) * width..);
            let (true, Some(next)) = (rest.starts_with(b"\x06result\x86\0UInt"), next) else { return false };
            output = next;
        }
        output.is_empty()
    }

    #[test]
    fn other_columns_than_the_signature_has_are_refused() {
        // SELECT 'a' AS c1 FORMAT Native: the name that ClickHouse sends if the XML doesn't name an
        // argument
        assert_eq!(
            refusal("shardKey", b"\x01\x01\x02c1\x06String\x01a"),
            "the name of column 1: expected distinct_id, found c1: \
             the function's XML is of another version, run posthouse udf install"
        );
        assert_eq!(
            refusal("shardKey", b"\x01\x01\x0bdistinct_id\x06UInt64\0\0\0\0\0\0\0\0"),
            "the type of column 1: expected String, found UInt64: cast this argument in the query \
             (not every ClickHouse version converts it), or run posthouse udf install"
        );
        assert_eq!(
            refusal("shardOf", KEY_BLOCK),
            "expected 2 columns, found 1: the function's XML is of another version, run posthouse udf install"
        );
    }

    #[test]
    fn types_in_binary_are_refused_without_waiting_for_a_name() {
        // SELECT 'a' AS distinct_id[, [1]::Array(UInt32) AS weights] FORMAT Native
        // SETTINGS output_format_native_encode_types_in_binary_format = 1
        let hint = "found a type in binary: set output_format_native_encode_types_in_binary_format = 0 in this query";
        assert_eq!(
            refusal("shardKey", b"\x01\x01\x0bdistinct_id\x15\x01a"),
            format!("the type of column 1: expected the name String, {hint}")
        );
        assert_eq!(
            refusal(
                "shardOf",
                b"\x02\x01\x0bdistinct_id\x06String\x01a\x07weights\x1e\x03\x01\0\0\0\0\0\0\0\x01\0\0\0"
            ),
            format!("the type of column 2: expected the name Array(UInt32), {hint}")
        );
        // The name has as many bytes as the binary type's code.
        let long = refusal("shardKey", b"\x01\x01\x0bdistinct_id\x15Array(Nullable(Int8))");
        assert!(long.contains("expected String, found Array(Nullable(Int8))"), "{long}");
    }

    #[test]
    fn strings_in_another_form_leave_something_over_or_lack_something() {
        // The ends of all strings, then their bytes.
        for rows in [1, 2, 3, 17, 300, 20_000_usize] {
            let ids: Vec<_> = (0..rows).map(|row| format!("user-{}", row * row).into_bytes()).collect();
            let ends = ids.iter().scan(0_u64, |end, id| {
                *end += id.len() as u64;
                Some(end.to_le_bytes())
            });
            let header = [vec![1], varint(rows), text(b"distinct_id"), text(b"String")].concat();
            let block = [header, ends.flatten().collect(), ids.concat()].concat();
            let found = refusal("shardKey", &block);
            let over = found.contains("bytes follow the last row: the values are not in the default Native");
            assert!(over || found.contains("ended inside a block"), "{rows} rows: {found}");
        }
    }

    #[test]
    fn impossible_counts_are_refused_at_once() {
        // Counts of 2^63 rows, of 2^35 bytes in row 2, of 2^40 items in array 1, each at the end of
        // input.
        let rows = refusal("shardKey", b"\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01");
        assert!(rows.starts_with("the count of rows: 9223372036854775808 is more than 4294967296"), "{rows}");
        let length = refusal("shardKey", b"\x01\x02\x0bdistinct_id\x06String\x01a\x80\x80\x80\x80\x80\x01");
        assert!(length.starts_with("row 2 of column distinct_id: 34359738368 is more than"), "{length}");
        let header = b"\x02\x01\x0bdistinct_id\x06String\x01a\x07weights\x0dArray(UInt32)";
        let items = refusal("shardOf", &[&header[..], &[0, 0, 0, 0, 0, 1, 0, 0]].concat());
        assert!(items.starts_with("the array ends of column weights: 1099511627776 is more than"), "{items}");
    }

    #[test]
    fn arrays_that_end_before_they_start_are_refused() {
        let place = SHARD_BLOCK.windows(8).position(|window| window == 8_u64.to_le_bytes()).unwrap();
        let mut block = SHARD_BLOCK.to_vec();
        block[place] = 5;
        let fault = "row 3 of column weights: the array ends at item 5, before it starts at item 6";
        assert_eq!(refusal("shardOf", &block), fault);
    }

    #[test]
    fn rows_without_an_answer_are_named() {
        // Row 4 of SHARD_BLOCK with the weights [0, 0] instead of [9, 1].
        let place = SHARD_BLOCK.len() - 48;
        let mut block = SHARD_BLOCK.to_vec();
        (block[place], block[place + 4]) = (0, 0);
        let fault = "row 4, column weights: all 2 weights are 0: give at least one shard a weight above 0";
        assert_eq!(refusal("shardOf", &block), fault);
    }

    #[test]
    fn a_reader_that_has_gone_is_told_apart_from_other_write_errors() {
        struct Closed(io::ErrorKind);
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let write = |kind| serve(find("shardKey").unwrap(), KEY_BLOCK, Closed(kind)).unwrap_err();
        assert!(write(io::ErrorKind::BrokenPipe).is_abandoned());
        assert!(!write(io::ErrorKind::StorageFull).is_abandoned());
    }
}
