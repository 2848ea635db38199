//! `shardKey` over RowBinaryWithNamesAndTypes with chunk headers, as the peer of Native.
//!
//! It reads, hashes and answers in pieces of the same size as the Native function.

use std::io::{self, Read, Write};
use std::ops::Range;

use anyhow::{Context, bail, ensure};
use posthouse_udf::process::{InputPipe, pipes};
use posthouse_udf::shard::shard_keys;
use posthouse_udf::texts::Scattered;

/// Bytes per read, as in the Native function.
const READ_BYTES: usize = 1 << 17;

/// Header of an answer block: one column, its name and its type.
const ANSWER_HEADER: &[u8] = b"\x01\x06result\x06UInt64";

fn main() -> anyhow::Result<()> {
    let (source, mut output) = pipes(|| false)?;
    let mut input = Input { source, buffer: vec![0; READ_BYTES], filled: 0, position: 0 };
    let (mut answer, mut found) = (Vec::new(), Vec::new());
    while input.filled > input.position || input.fill()? {
        let rows: usize = input.line()?.parse().context("the chunk header is not a number")?;
        let columns = input.byte()?;
        ensure!(columns == 1, "expected one column, found {columns}");
        let (name, data_type) = (input.text()?, input.text()?);
        ensure!(data_type == b"String", "{name:?} is a {data_type:?}");
        answer.clear();
        answer.extend_from_slice(ANSWER_HEADER);
        let mut done = 0;
        while done < rows {
            found.clear();
            input.texts_at_hand(rows - done, &mut found);
            if found.is_empty() {
                ensure!(input.fill()?, "the input ended in row {}", done + 1);
                continue;
            }
            let texts = found.iter().map(|range: &Range<usize>| &input.buffer[range.clone()]);
            shard_keys(Scattered(texts)).for_each_slice(|keys| {
                keys.iter().for_each(|key| answer.extend_from_slice(&key.to_le_bytes()));
            });
            done += found.len();
        }
        output.write_all(&answer)?;
    }
    Ok(())
}

/// The pipe, with unread bytes from `position` to `filled`.
struct Input {
    source: InputPipe,
    buffer: Vec<u8>,
    filled: usize,
    position: usize,
}

impl Input {
    /// Moves unread bytes to the front and reads once. Returns whether bytes arrived.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.position..self.filled, 0);
        (self.filled, self.position) = (self.filled - self.position, 0);
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        let count = self.source.read(&mut self.buffer[self.filled..])?;
        self.filled += count;
        Ok(count > 0)
    }

    fn byte(&mut self) -> anyhow::Result<u8> {
        if self.position == self.filled && !self.fill()? {
            bail!("the input ended inside a block");
        }
        self.position += 1;
        Ok(self.buffer[self.position - 1])
    }

    /// Reads up to a line break, and consumes it.
    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                byte => line.push(byte.into()),
            }
        }
    }

    /// Reads a short name or type.
    fn text(&mut self) -> anyhow::Result<Vec<u8>> {
        (0..self.byte()?).map(|_| self.byte()).collect()
    }

    /// Collects up to `most` complete strings of up to 16,383 bytes.
    fn texts_at_hand(&mut self, most: usize, found: &mut Vec<Range<usize>>) {
        let bytes = &self.buffer[..self.filled];
        let mut position = self.position;
        found.extend((0..most).map_while(|_| {
            let (length, start) = match bytes.get(position..)? {
                [a @ ..0x80, ..] => (usize::from(*a), position + 1),
                [a, b @ ..0x80, ..] => (usize::from(a & 0x7f) | usize::from(*b) << 7, position + 2),
                _ => return None,
            };
            let end = start + length;
            (end <= bytes.len()).then(|| {
                position = end;
                start..end
            })
        }));
        self.position = position;
    }
}
