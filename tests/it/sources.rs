//! Parquet sources in real object stores: listing, reading, identity.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use object_store::aws::AmazonS3Builder;
use object_store::signer::Signer;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use posthouse::parts::{Object, ObjectReader, SourceError, Sources, footer_hash};
use posthouse_tests::stack::{ACCESS_KEY, Readers, S3Server, SECRET_KEY};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;

use crate::seed;

tests! {
    Free a_bucket_is_listed_page_by_page,
    Free folders_globs_and_keys_of_a_bucket_are_told_apart,
    Free a_key_with_empty_or_dot_parts_hides_no_other,
    Free a_file_read_from_a_store_is_that_of_the_disk,
    Free a_signed_address_is_read_and_not_shown,
    Free gs_addresses_are_read,
    Free a_replaced_object_is_refused,
}

/// Validity of a signed address, longer than any test.
const VALID: Duration = Duration::from_secs(3600);

/// The sources of a server, and the runtime for their requests.
pub(crate) struct Access {
    pub(crate) runtime: Runtime,
    pub(crate) sources: Sources,
}

impl Access {
    pub(crate) fn new(settings: Vec<(String, String)>) -> anyhow::Result<Self> {
        Ok(Self { runtime: Runtime::new()?, sources: Sources::new(settings) })
    }

    pub(crate) fn to(server: &S3Server) -> anyhow::Result<Self> {
        Self::new(server.environment(server.address()))
    }

    pub(crate) fn expand(&self, arguments: &[&str]) -> Result<Vec<Object>, SourceError> {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.runtime.block_on(self.sources.expand(&arguments))
    }

    pub(crate) fn open(&self, argument: &str) -> anyhow::Result<ObjectReader> {
        let object = self.expand(&[argument])?.into_iter().next().context("no object")?;
        Ok(self.runtime.block_on(object.open())?)
    }
}

/// A Parquet file of some megabytes in several row groups, most of it incompressible.
pub(crate) fn parquet_file(random: &mut StdRng) -> anyhow::Result<Vec<u8>> {
    let rows = 60_000;
    let number = Int64Array::from_iter_values((0..rows).map(|_| random.random()));
    let text = (0..rows).map(|_| format!("{:x}{:x}", random.random::<u128>(), random.random::<u128>()));
    let columns: [(&str, ArrayRef); 2] =
        [("number", Arc::new(number)), ("text", Arc::new(StringArray::from_iter_values(text)))];
    let batch = RecordBatch::try_from_iter(columns)?;
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(25_000)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// All rows, read by column chunk as in a load.
pub(crate) fn rows(reader: impl ChunkReader + 'static) -> anyhow::Result<Vec<RecordBatch>> {
    let batches = ParquetRecordBatchReaderBuilder::try_new(reader)?.with_batch_size(1_000).build()?;
    Ok(batches.collect::<Result<_, _>>()?)
}

fn locations(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.location.as_str()).collect()
}

fn a_bucket_is_listed_page_by_page() -> anyhow::Result<()> {
    // GIVEN more objects than S3 lists in one page
    let server = S3Server::start(Readers::Signed)?;
    let count = 2_345;
    for number in 0..count {
        server.put("events", &format!("y={}/{number:05}.parquet", number % 7), b"x")?;
    }
    server.put("events", "y=3/manifest.json", b"{}")?;
    // WHEN they are listed
    let access = Access::to(&server)?;
    let objects = access.expand(&["s3://events/"])?;
    // THEN all are found, in order, each with its ETag
    ensure!(objects.len() == count, "{} of {count}", objects.len());
    ensure!(locations(&objects).is_sorted() && objects[0].location == "s3://events/y=0/00000.parquet");
    ensure!(
        objects.iter().all(|object| object.size == 1 && object.etag.is_some()),
        "an object without a tag"
    );
    ensure!(server.requests() == 3, "{} requests for three pages", server.requests());
    // AND a glob selects its part
    let some = access.expand(&["s3://events/y=[34]/*00.parquet"])?;
    let expected = (0..count).filter(|number| [3, 4].contains(&(number % 7)) && number % 100 == 0).count();
    ensure!(some.len() == expected, "{} of {expected}", some.len());
    Ok(())
}

fn folders_globs_and_keys_of_a_bucket_are_told_apart() -> anyhow::Result<()> {
    let server = S3Server::start(Readers::Signed)?;
    for (key, bytes) in [
        ("a.parquet", &b"x"[..]),
        ("team 1/ä+%20.parquet", b"x"),
        ("team 1/manifest.json", b"{}"),
        ("team 1/_SUCCESS", b""),
        ("team 1/empty.parquet", b""),
        ("team 10/b.parquet.zst", b"x"),
        ("_old/[1].parquet", b"x"),
        // A name that is also a glob of another name.
        ("_old/a1.parquet", b"x"),
        ("_old/a[1].parquet", b"x"),
        ("_old/[2026-01] export.parquet", b"x"),
    ] {
        server.put("events", key, bytes)?;
    }
    let access = Access::to(&server)?;
    for (arguments, expected) in [
        (
            &["s3://events"][..],
            &["a.parquet", "team 1/empty.parquet", "team 1/ä+%20.parquet", "team 10/b.parquet.zst"][..],
        ),
        (&["s3://events/team 1", "s3://events/team 1/"], &["team 1/empty.parquet", "team 1/ä+%20.parquet"]),
        (&["s3a://events/team 1/ä+%20.parquet"], &["team 1/ä+%20.parquet"]),
        (&["s3://events/team 1/manifest.json"], &["team 1/manifest.json"]),
        (&["s3://events/_old/[1].parquet"], &["_old/[1].parquet"]),
        (&["s3://events/_old/a[1].parquet"], &["_old/a[1].parquet"]),
        (&["s3://events/_old/a[12].parquet"], &["_old/a1.parquet"]),
        (&["s3://events/_old/[2026-01] export.parquet"], &["_old/[2026-01] export.parquet"]),
        (
            &["s3://events/*"],
            &["a.parquet", "team 1/empty.parquet", "team 1/ä+%20.parquet", "team 10/b.parquet.zst"],
        ),
        (&["s3://events/*/*.parquet"], &["team 1/empty.parquet", "team 1/ä+%20.parquet"]),
    ] {
        let found = access.expand(arguments).with_context(|| format!("{arguments:?}"))?;
        let keys: Vec<_> = locations(&found)
            .into_iter()
            .map(|location| location.trim_start_matches("s3://events/"))
            .collect();
        ensure!(keys == expected, "{arguments:?}: {keys:?}");
    }
    for (argument, hint) in [
        ("s3://events/team 2/", "names no Parquet file"),
        ("s3://events/team 2", "no such key"),
        ("s3://events/*.csv", "names no Parquet file"),
        ("s3://events//a.parquet", "rename it"),
        ("s3://elsewhere/*", "does not exist at http://127.0.0.1"),
    ] {
        let error = access.expand(&[argument]).err().context("found")?.to_string();
        ensure!(error.contains(hint), "{argument}: {error}");
    }
    Ok(())
}

fn a_key_with_empty_or_dot_parts_hides_no_other() -> anyhow::Result<()> {
    // GIVEN keys that the client library refuses to list, and the markers of a folder
    let server = S3Server::start(Readers::Signed)?;
    let readable =
        ["exports//x.parquet", "exports/a.parquet", "exports/b//c//d &%2F+.parquet", "y=1/a.parquet"];
    for key in readable.iter().chain(&["/lead.parquet", "exports/./y.parquet", "y=1/", "y=1/_x//b.parquet"]) {
        server.put("events", key, format!("bytes of {key}").as_bytes())?;
    }
    let access = Access::to(&server)?;
    let keys = |objects: &[Object]| -> Vec<String> {
        objects.iter().map(|object| object.location.replace("s3://events/", "")).collect()
    };
    // WHEN the bucket is listed THEN the others are found, and the rest is named
    let selection = access.runtime.block_on(access.sources.select(&["s3://events/".to_owned()]))?;
    ensure!(keys(&selection.objects) == readable, "{:?}", selection.objects);
    let skipped: Vec<String> = selection.skipped.iter().map(ToString::to_string).collect();
    let expected = [
        "1 not named *.parquet: s3://events/y=1/",
        "1 hidden: s3://events/y=1/_x/",
        "2 with a key that can't be requested: s3://events//lead.parquet, s3://events/exports/./y.parquet",
    ];
    ensure!(skipped == expected, "{skipped:#?}");
    // AND by key, folder and glob
    for (argument, expected) in [
        ("s3://events/exports//x.parquet", &readable[..1]),
        ("s3://events/exports//", &readable[..1]),
        ("s3://events/exports", &readable[..3]),
        ("s3://events/exports//*.parquet", &readable[..1]),
        ("s3://events/exports/**/d*.parquet", &readable[2..3]),
    ] {
        let found = access.expand(&[argument])?;
        ensure!(keys(&found) == expected, "{argument}: {found:?}");
    }
    // AND each is read
    for (object, key) in selection.objects.iter().zip(readable) {
        let reader = access.runtime.block_on(object.open())?;
        let bytes = reader.get_bytes(0, usize::try_from(object.size)?)?;
        ensure!(bytes == format!("bytes of {key}"), "{key}: {bytes:?}");
        reader.unchanged()?;
    }
    let error = access.expand(&["s3://events//lead.parquet"]).err().context("found")?.to_string();
    ensure!(error.contains("can't be requested: rename it"), "{error}");
    Ok(())
}

fn a_file_read_from_a_store_is_that_of_the_disk() -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed("a_file_read_from_a_store")?);
    // GIVEN the same file in a bucket and on the disk
    let server = S3Server::start(Readers::Signed)?;
    let bytes = parquet_file(&mut random)?;
    server.put("events", "a.parquet", &bytes)?;
    let disk = server.root().join("events/a.parquet");
    let access = Access::to(&server)?;
    let local = access.open(disk.to_str().context("a path")?)?;
    let remote = access.open("s3://events/a.parquet")?;
    // WHEN both are read as Parquet, as a stream and in parts THEN they are equal
    ensure!(remote.len() == bytes.len() as u64 && footer_hash(&remote)? == footer_hash(&local)?);
    let (expected, found) = (rows(local)?, rows(remote.clone())?);
    ensure!(expected == found && expected.iter().map(RecordBatch::num_rows).sum::<usize>() == 60_000);
    let mut whole = Vec::new();
    remote.get_read(0)?.read_to_end(&mut whole)?;
    ensure!(whole == bytes, "other bytes");
    for _ in 0..50 {
        let start = random.random_range(0..bytes.len());
        let length = random.random_range(0..=bytes.len() - start);
        ensure!(
            remote.get_bytes(start as u64, length)? == bytes[start..][..length],
            "{length} bytes at {start}"
        );
    }
    remote.unchanged()?;
    // AND a broken file is distinguished from a broken connection
    server.put("events", "broken.parquet", &bytes[..bytes.len() - 1])?;
    let error = footer_hash(&access.open("s3://events/broken.parquet")?).err().context("a footer")?;
    ensure!(matches!(error, SourceError::NotParquet { .. }), "{error}");
    Ok(())
}

fn a_signed_address_is_read_and_not_shown() -> anyhow::Result<()> {
    // GIVEN an address that lets its bearer read one object for a time
    let server = S3Server::start(Readers::Signed)?;
    let bytes = parquet_file(&mut StdRng::seed_from_u64(seed("a_signed_address")?))?;
    server.put("events", "y=1/a b.parquet", &bytes)?;
    let store = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", server.address()))
        .with_allow_http(true)
        .with_bucket_name("events")
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()?;
    // WHEN it is read without any settings THEN it is the object, under an address without the
    // signature
    let access = Access::new(Vec::new())?;
    let address =
        |key: &str| access.runtime.block_on(store.signed_url(reqwest::Method::GET, &key.into(), VALID));
    let signed = address("y=1/a b.parquet")?;
    let object = access.expand(&[signed.as_str()])?.remove(0);
    ensure!(
        object.location == format!("http://{}/events/y%3D1/a%20b.parquet", server.address()),
        "{object:?}"
    );
    let reader = access.open(signed.as_str())?;
    ensure!(rows(reader)? == rows(bytes::Bytes::from(bytes))?, "other rows");
    // AND errors don't show the signature either
    let digit =
        signed.as_str().split_once("X-Amz-Signature=").and_then(|(_, signature)| signature.chars().next());
    let other = if digit == Some('0') { "X-Amz-Signature=1" } else { "X-Amz-Signature=0" };
    let digit = format!("X-Amz-Signature={}", digit.context("no signature")?);
    let forged = signed.as_str().replace(&digit, other);
    let gone = address("y=1/gone.parquet")?;
    for (argument, words) in [(forged.as_str(), "no valid credentials"), (gone.as_str(), "does not exist")] {
        let error = access.expand(&[argument]).err().context("read")?;
        let text = format!("{error} {error:?}");
        ensure!(text.contains(words) && !text.contains("X-Amz-"), "{text}");
    }
    // AND two addresses that differ only in hidden parts are not merged into one
    let error = access.expand(&[signed.as_str(), &format!("{signed}&x=1")]).err().context("read")?;
    ensure!(matches!(error, SourceError::Argument { .. }), "{error}");
    Ok(())
}

fn gs_addresses_are_read() -> anyhow::Result<()> {
    // GIVEN a server with the XML interface of GCS, open to everyone
    eprintln!(
        "NOT RUN: sources::gs_addresses_are_read signs nothing: there is no Google account to sign with"
    );
    let server = S3Server::start(Readers::Anyone)?;
    let bytes = parquet_file(&mut StdRng::seed_from_u64(seed("gs_addresses")?))?;
    server.put("events", "y=1/a.parquet", &bytes)?;
    server.put("events", "y=2/b.parquet", b"x")?;
    let settings = BTreeMap::from([
        ("GOOGLE_BASE_URL", format!("http://{}", server.address())),
        ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
        ("GOOGLE_SKIP_SIGNATURE", "true".to_owned()),
    ]);
    let access = Access::new(settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())?;
    // WHEN a bucket is listed and an object is read THEN they equal the stored ones
    let found = access.expand(&["gs://events/y=*/"])?;
    ensure!(locations(&found) == ["gs://events/y=1/a.parquet", "gs://events/y=2/b.parquet"], "{found:?}");
    ensure!(
        rows(access.open("gs://events/y=1/a.parquet")?)? == rows(bytes::Bytes::from(bytes))?,
        "other rows"
    );
    let error = access.expand(&["gs://elsewhere/"]).err().context("found")?.to_string();
    ensure!(error.contains("GOOGLE_BASE_URL"), "{error}");
    Ok(())
}

fn a_replaced_object_is_refused() -> anyhow::Result<()> {
    // GIVEN an object that was listed, with an open reader
    let mut random = StdRng::seed_from_u64(seed("a_replaced_object")?);
    let server = S3Server::start(Readers::Signed)?;
    let (old, new) = (parquet_file(&mut random)?, parquet_file(&mut random)?);
    server.put("events", "a.parquet", &old)?;
    let access = Access::to(&server)?;
    let object = access.expand(&["s3://events/a.parquet"])?.remove(0);
    let reader = access.runtime.block_on(object.open())?;
    ensure!(reader.get_bytes(0, 4)? == b"PAR1"[..]);
    // WHEN another object replaces it
    server.put("events", "a.parquet", &new)?;
    // THEN its identity has changed, and none of its bytes are read
    let again = access.expand(&["s3://events/a.parquet"])?.remove(0);
    ensure!(again.identity() != object.identity(), "the same identity");
    let error = rows(reader.clone()).err().context("rows of two files")?;
    ensure!(error.to_string().contains("s3://events/a.parquet has changed"), "{error:#}");
    ensure!(matches!(reader.unchanged(), Err(SourceError::Changed { .. })), "unchanged");
    Ok(())
}
