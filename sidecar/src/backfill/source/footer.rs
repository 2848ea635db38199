//! Hash of a Parquet file's footer.
//!
//! The footer holds the byte offset of every page and so changes with almost any rewrite.

use parquet::file::reader::Length;
use sha2::{Digest, Sha256};

use super::error::SourceError;
use super::reader::ObjectReader;

/// The footer's length and the magic at a file's end.
const TAIL: u64 = 8;
/// The magic at a file's beginning.
const HEAD: u64 = 4;
/// Bytes hashed at once: a footer of gigabytes, real or claimed, must not fill the memory.
const PIECE: u64 = 64 * 1024;

/// Returns the SHA-256 of the footer with its length and magic, read from the end of the file.
/// Blocks.
///
/// # Errors
/// [`SourceError::NotParquet`] if the last bytes are no footer, or any error of reading the file.
pub fn footer_hash(reader: &ObjectReader) -> Result<[u8; 32], SourceError> {
    let not_parquet =
        |problem: String| Err(SourceError::NotParquet { location: reader.location().to_owned(), problem });
    let size = reader.len();
    if size < HEAD + TAIL {
        return not_parquet(format!("it has {size} bytes, and the minimum is {}", HEAD + TAIL));
    }
    let tail = reader.within(size - TAIL..size)?;
    let length = match <[u8; 8]>::try_from(tail.as_ref()) {
        Ok([a, b, c, d, b'P', b'A', b'R', b'1']) => u64::from(u32::from_le_bytes([a, b, c, d])),
        Ok([.., b'P', b'A', b'R', b'E']) => {
            return not_parquet("its footer is encrypted, which posthouse does not read".to_owned());
        }
        _ => {
            return not_parquet(
                "it does not end with PAR1: it is truncated, or in another format".to_owned(),
            );
        }
    };
    let Some(start) = (size - TAIL).checked_sub(length).filter(|start| *start >= HEAD) else {
        return not_parquet(format!(
            "its last bytes claim a footer of {length} bytes in a file of {size} bytes"
        ));
    };
    hash(reader, start)
}

fn hash(reader: &ObjectReader, mut start: u64) -> Result<[u8; 32], SourceError> {
    let mut hasher = Sha256::new();
    while start < reader.len() {
        let end = reader.len().min(start + PIECE);
        hasher.update(reader.within(start..end)?);
        start = end;
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Sources;
    use super::*;

    async fn hash_of(path: &Path, bytes: &[u8]) -> Result<[u8; 32], SourceError> {
        std::fs::write(path, bytes).expect("a file");
        let argument = path.to_str().expect("UTF-8").to_owned();
        let objects = Sources::default().expand(&[argument]).await?;
        let reader = objects[0].open().await?;
        tokio::task::spawn_blocking(move || footer_hash(&reader)).await.expect("no panic")
    }

    fn file(footer: &[u8], magic: &[u8; 4]) -> Vec<u8> {
        let length = u32::try_from(footer.len()).expect("a short footer").to_le_bytes();
        [b"PAR1".as_slice(), b"pages", footer, &length, magic].concat()
    }

    #[tokio::test]
    async fn the_hash_is_that_of_the_footer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let long = vec![7; 200_000];
        for footer in [b"".as_slice(), b"footer", &long] {
            let whole = file(footer, b"PAR1");
            let expected: [u8; 32] = Sha256::digest(&whole[9..]).into();
            assert_eq!(hash_of(&path, &whole).await.expect("a hash"), expected);
        }
        let one = hash_of(&path, &file(b"one", b"PAR1")).await.expect("a hash");
        assert_ne!(one, hash_of(&path, &file(b"two", b"PAR1")).await.expect("a hash"));
    }

    #[tokio::test]
    async fn what_is_no_whole_parquet_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.parquet");
        let whole = file(b"footer", b"PAR1");
        for (bytes, problem) in [
            (&b""[..], "it has 0 bytes"),
            (b"PAR1PAR1", "it has 8 bytes"),
            (&whole[..whole.len() - 1], "does not end with PAR1"),
            (b"{\"files\": [\"a.parquet\"]}", "does not end with PAR1"),
            (&file(b"footer", b"PARE"), "encrypted"),
            (b"PAR1abcd\xff\xff\xff\xffPAR1", "claim a footer of 4294967295 bytes"),
            (b"PAR1abcd\x05\0\0\0PAR1", "claim a footer of 5 bytes"),
        ] {
            let error = hash_of(&path, bytes).await.expect_err("no footer").to_string();
            assert!(error.contains(problem) && error.contains("a.parquet"), "{error}");
        }
    }
}
