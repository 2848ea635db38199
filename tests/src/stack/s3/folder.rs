//! A folder as S3: paged lists, range reads, conditional reads.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use s3s::dto::{
    ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object, StreamingBlob, Timestamp,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

use super::PRIVATE_BUCKET;
use super::held_keys::HeldKeys;

/// The maximum of one page of S3.
const PAGE: usize = 1_000;

/// A folder of buckets.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    requests: Arc<AtomicU64>,
    held: Arc<HeldKeys>,
}

impl Folder {
    pub(super) fn new(root: PathBuf, requests: Arc<AtomicU64>, held: Arc<HeldKeys>) -> Self {
        Self { root, requests, held }
    }

    fn bucket(&self, name: &str) -> S3Result<PathBuf> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if name == PRIVATE_BUCKET {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let folder = self.root.join(name);
        if folder.is_dir() {
            Ok(folder)
        } else {
            Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"))
        }
    }

    fn open(&self, bucket: &str, key: &str) -> S3Result<(File, Metadata)> {
        let path = self.bucket(bucket)?.join(file_of(key));
        let file = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        match file {
            Ok((metadata, file)) if metadata.is_file() => Ok((file, metadata)),
            _ => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Folder {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let (file, metadata) = self.open(&input.bucket, &input.key)?;
        let tag = tag(&metadata);
        if let Some(ETagCondition::ETag(wanted)) = &input.if_match
            && !wanted.strong_cmp(&tag)
        {
            return Err(s3_error!(
                PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold"
            ));
        }
        let size = metadata.len();
        let range = input.range.map(|range| range.check(size)).transpose()?;
        let content_range =
            range.as_ref().map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1));
        let range = range.unwrap_or(0..size);
        if range != (0..1) {
            self.held.pass(&input.key).await;
        }
        let bytes = read(&file, &range).map_err(|error| s3_error!(error, InternalError))?;
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(signed(bytes.len() as u64)),
            body: Some(StreamingBlob::from(Body::from(bytes))),
            content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(tag),
            last_modified: modified(&metadata),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let (_, metadata) = self.open(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(signed(metadata.len())),
            e_tag: Some(tag(&metadata)),
            last_modified: modified(&metadata),
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "this server lists without a delimiter"));
        }
        let bucket = self.bucket(&input.bucket)?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let limit = input.max_keys.and_then(|keys| usize::try_from(keys).ok()).unwrap_or(PAGE).min(PAGE);
        let mut keys = keys(&bucket, &bucket).map_err(|error| s3_error!(error, InternalError))?;
        keys.retain(|(key, _)| key.starts_with(&prefix) && *key > after);
        keys.sort_by(|(one, _), (other, _)| one.cmp(other));
        let is_truncated = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().map(|(key, _)| key.clone()).filter(|_| is_truncated);
        let contents = keys.into_iter().map(|(key, metadata)| Object {
            key: Some(key),
            size: Some(signed(metadata.len())),
            e_tag: Some(tag(&metadata)),
            last_modified: modified(&metadata),
            ..Object::default()
        });
        let contents: Vec<_> = contents.collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: i32::try_from(contents.len()).ok(),
            contents: Some(contents),
            is_truncated: Some(is_truncated),
            next_continuation_token: next,
            prefix: Some(prefix),
            ..ListObjectsV2Output::default()
        }))
    }
}

/// An ETag must change with the bytes. This one has the file's inode, modification time and length.
fn tag(metadata: &Metadata) -> ETag {
    let (second, nanosecond) = (metadata.mtime(), metadata.mtime_nsec());
    ETag::Strong(format!("{:x}-{second:x}-{nanosecond:x}-{:x}", metadata.ino(), metadata.len()))
}

fn modified(metadata: &Metadata) -> Option<Timestamp> {
    metadata.modified().ok().map(Timestamp::from)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(file: &File, range: &std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// All files below a folder, as keys.
fn keys(bucket: &Path, folder: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            found.extend(keys(bucket, &path)?);
        } else {
            let key = path.strip_prefix(bucket).map_err(io::Error::other)?;
            found.push((key_of(&key.to_string_lossy()), metadata));
        }
    }
    Ok(found)
}

/// Parts of keys that no file can have as a name, and their names.
const PARTS: [(&str, &str); 3] = [("", "(empty)"), (".", "(dot)"), ("..", "(dots)")];

/// Returns the path of a key's file below its bucket.
pub(super) fn file_of(key: &str) -> String {
    let name = |part| PARTS.iter().find(|(known, _)| *known == part).map_or(part, |(_, name)| *name);
    key.split('/').map(name).collect::<Vec<_>>().join("/")
}

fn key_of(path: &str) -> String {
    let part = |name| PARTS.iter().find(|(_, known)| *known == name).map_or(name, |(part, _)| *part);
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}
