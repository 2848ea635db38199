//! Decompression bounded by a page's declared size.
//!
//! The decoders of ZSTD, GZIP and Brotli are made before the page's memory is. The other way round,
//! the page would take the room that the last decoder freed, and with hundreds of columns each
//! decoder would need new memory.

use std::io::{Cursor, Read};

use parquet::basic::Compression;

/// Brotli's own buffer; the output goes through it.
const BROTLI_BUFFER: usize = 64 << 10;
/// Hadoop's framing of LZ4: two big-endian lengths before each block.
const HADOOP_HEAD: usize = 8;

/// Decompressor for the pages of one column chunk.
pub(super) enum Codec {
    Uncompressed,
    Snappy(snap::raw::Decoder),
    Gzip,
    Brotli,
    /// Each page has a decoder of its own, of 96 KB, because a file may have hundreds of columns.
    Zstd,
    /// With Hadoop's framing, LZ4's own, or none: writers have used all three under this name.
    Lz4,
    Lz4Raw,
}

impl Codec {
    /// # Errors
    /// Fails if the codec is unsupported.
    pub(super) fn new(compression: Compression) -> Result<Self, String> {
        Ok(match compression {
            Compression::UNCOMPRESSED => Self::Uncompressed,
            Compression::SNAPPY => Self::Snappy(snap::raw::Decoder::new()),
            Compression::GZIP(_) => Self::Gzip,
            Compression::BROTLI(_) => Self::Brotli,
            Compression::ZSTD(_) => Self::Zstd,
            Compression::LZ4 => Self::Lz4,
            Compression::LZ4_RAW => Self::Lz4Raw,
            Compression::LZO => {
                return Err("it is compressed with LZO, which posthouse can't read".to_owned());
            }
        })
    }

    /// Whether pages are stored uncompressed.
    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Uncompressed)
    }

    /// Appends exactly `length` bytes to `output`.
    ///
    /// # Errors
    /// Fails if `input` is broken, or decompresses to another length.
    pub(super) fn decompress(
        &mut self,
        input: &[u8],
        length: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), String> {
        let start = output.len();
        match self {
            Self::Uncompressed => output.extend_from_slice(input),
            Self::Gzip => bounded(flate2::bufread::MultiGzDecoder::new(input), length, output)?,
            Self::Brotli => bounded(brotli::Decompressor::new(input, BROTLI_BUFFER), length, output)?,
            Self::Snappy(decoder) => {
                let written = decoder.decompress(input, grown(output, length)?);
                let written = written.map_err(|error| error.to_string())?;
                output.truncate(start + written);
            }
            Self::Zstd => {
                let mut decoder = zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?;
                output.reserve_exact(length);
                // The decoder writes behind the cursor up to the capacity, so that the memory needs
                // no clearing first.
                let mut room = Cursor::new(&mut *output);
                room.set_position(start as u64);
                let written = decoder.decompress_to_buffer(input, &mut room);
                written.map_err(|error| error.to_string())?;
            }
            Self::Lz4Raw => {
                let written = raw(input, grown(output, length)?)?;
                output.truncate(start + written);
            }
            Self::Lz4 => lz4(input, length, output)?,
        }
        let got = output.len() - start;
        if got != length {
            return Err(format!("it decompresses to {got} bytes or more, and its header says {length}"));
        }
        Ok(())
    }
}

/// One byte more than declared is enough to detect excess output.
fn bounded(decoder: impl Read, length: usize, output: &mut Vec<u8>) -> Result<(), String> {
    output.reserve_exact(length);
    let most = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(most).read_to_end(output).map(drop).map_err(|error| error.to_string())
}

fn grown(output: &mut Vec<u8>, length: usize) -> Result<&mut [u8], String> {
    let start = output.len();
    output.reserve_exact(length);
    output.resize(start + length, 0);
    output.get_mut(start..).ok_or_else(|| "no room".to_owned())
}

fn raw(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    lz4_flex::block::decompress_into(input, output).map_err(|error| error.to_string())
}

fn lz4(input: &[u8], length: usize, output: &mut Vec<u8>) -> Result<(), String> {
    let start = output.len();
    let room = grown(output, length)?;
    if hadoop(input, room).is_some() {
        return Ok(());
    }
    output.truncate(start);
    if bounded(lz4_flex::frame::FrameDecoder::new(input), length, output).is_ok()
        && output.len() == start + length
    {
        return Ok(());
    }
    output.truncate(start);
    let written = raw(input, grown(output, length)?)?;
    output.truncate(start + written);
    Ok(())
}

/// Fills all of `output` from length-prefixed blocks, or fails.
fn hadoop(mut input: &[u8], mut output: &mut [u8]) -> Option<()> {
    while !output.is_empty() {
        let (head, rest) = input.split_at_checked(HADOOP_HEAD)?;
        let [a, b, c, d, e, f, g, h] = *head else { return None };
        let unfolded = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        let folded = usize::try_from(u32::from_be_bytes([e, f, g, h])).ok()?;
        let (block, rest) = rest.split_at_checked(folded)?;
        let (room, beyond) = output.split_at_mut_checked(unfolded)?;
        if unfolded == 0 || raw(block, room).ok()? != unfolded {
            return None;
        }
        (input, output) = (rest, beyond);
    }
    input.is_empty().then_some(())
}
