//! Decompression that ends at the size a page declares, whatever its bytes would unfold to.

use std::io::{ErrorKind, Read};

use parquet::basic::Compression;

/// Brotli's own buffer; the output goes through it.
const BROTLI_BUFFER: usize = 64 << 10;
/// Hadoop's framing of LZ4: two big-endian lengths before each block.
const HADOOP_HEAD: usize = 8;

/// Decompresses the pages of one column chunk.
pub(super) enum Codec {
    Uncompressed,
    Snappy(snap::raw::Decoder),
    Gzip,
    Brotli,
    Zstd(zstd::bulk::Decompressor<'static>),
    /// With Hadoop's framing, LZ4's own, or none: writers have used all three under this name.
    Lz4,
    Lz4Raw,
}

impl Codec {
    /// # Errors
    /// The codec can't be had.
    pub(super) fn new(compression: Compression) -> Result<Self, String> {
        Ok(match compression {
            Compression::UNCOMPRESSED => Self::Uncompressed,
            Compression::SNAPPY => Self::Snappy(snap::raw::Decoder::new()),
            Compression::GZIP(_) => Self::Gzip,
            Compression::BROTLI(_) => Self::Brotli,
            Compression::ZSTD(_) => {
                Self::Zstd(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?)
            }
            Compression::LZ4 => Self::Lz4,
            Compression::LZ4_RAW => Self::Lz4Raw,
            Compression::LZO => {
                return Err("it is compressed with LZO, which posthouse can't read".to_owned());
            }
        })
    }

    /// Whether pages stand in the file as they are.
    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Uncompressed)
    }

    /// Fills all of `output` with what `input` unfolds to.
    ///
    /// # Errors
    /// `input` is broken, or unfolds to another length.
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), String> {
        let written = match self {
            Self::Uncompressed => return copied(input, output),
            Self::Gzip => return unfolded(flate2::read::MultiGzDecoder::new(input), output),
            Self::Brotli => return unfolded(brotli::Decompressor::new(input, BROTLI_BUFFER), output),
            Self::Lz4 => return lz4(input, output),
            Self::Lz4Raw => raw(input, output)?,
            Self::Snappy(decoder) => decoder.decompress(input, output).map_err(|error| error.to_string())?,
            Self::Zstd(decoder) => {
                decoder.decompress_to_buffer(input, output).map_err(|error| error.to_string())?
            }
        };
        if written == output.len() { Ok(()) } else { Err(wrong_length(written, output)) }
    }
}

fn copied(input: &[u8], output: &mut [u8]) -> Result<(), String> {
    if input.len() != output.len() {
        return Err(wrong_length(input.len(), output));
    }
    output.copy_from_slice(input);
    Ok(())
}

/// Reads on until `output` is full, and then no more than it takes to know that there is more.
fn unfolded(mut decoder: impl Read, output: &mut [u8]) -> Result<(), String> {
    let (length, mut filled) = (output.len(), 0);
    let mut beyond = [0];
    while filled <= length {
        let room = if filled < length { &mut output[filled..] } else { &mut beyond };
        match decoder.read(room) {
            Ok(0) if filled == length => return Ok(()),
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(wrong_length(filled, output))
}

fn wrong_length(got: usize, output: &[u8]) -> String {
    format!("it decompresses to {got} bytes or more, and its header says {}", output.len())
}

fn raw(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    lz4_flex::block::decompress_into(input, output).map_err(|error| error.to_string())
}

fn lz4(input: &[u8], output: &mut [u8]) -> Result<(), String> {
    if hadoop(input, output).is_some() || unfolded(lz4_flex::frame::FrameDecoder::new(input), output).is_ok()
    {
        return Ok(());
    }
    let written = raw(input, output)?;
    if written == output.len() { Ok(()) } else { Err(wrong_length(written, output)) }
}

/// Fills all of `output` from blocks that each say how long they are, or not at all.
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
