//! Tests of cached ranges against the bytes of a remote object.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::file::reader::{ChunkReader, Length};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::address::StoreKind;
use super::super::object::{Access, Object};
use super::super::stores::Remote;
use super::super::variables::Variables;
use super::super::{ObjectReader, SourceError};
use super::*;

/// An object in an in-memory store.
async fn object(store: &Arc<InMemory>, bytes: Vec<u8>) -> Object {
    let path = Path::from("a.parquet");
    store.put(&path, bytes.into()).await.expect("stored");
    let meta = store.head(&path).await.expect("an object");
    let client: Arc<dyn ObjectStore> = Arc::clone(store) as _;
    let variables = Arc::new(Variables::default());
    let remote = Remote { client, kind: StoreKind::Aws, endpoint: "memory".into(), variables };
    let location = "s3://b/a.parquet".to_owned();
    Object {
        location,
        size: meta.size,
        modified: None,
        etag: meta.e_tag,
        access: Access::Remote { remote, path },
    }
}

fn random_bytes(random: &mut StdRng, length: u64) -> Vec<u8> {
    (0..length).map(|_| random.random()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_is_that_of_the_object_also_when_ranges_are_read_in_turns() {
    let seed = rand::random();
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let size = random.random_range(4 * BLOCK..6 * BLOCK);
    let bytes = random_bytes(&mut random, size);
    let reader = object(&Arc::default(), bytes.clone()).await.open().await.expect("a reader");
    let reading = move || {
        assert_eq!(reader.len(), size);
        let mut columns: Vec<_> = (0..5)
            .map(|_| random.random_range(0..size))
            .map(|at| (at, reader.get_read(at).expect("a range")))
            .collect();
        for _ in 0..300 {
            let start = random.random_range(0..=size);
            let length = random.random_range(0..=(size - start).min(3 * BLOCK)) as usize;
            assert_eq!(reader.get_bytes(start, length).expect("bytes"), bytes[start as usize..][..length]);
            let turn = random.random_range(0..columns.len());
            let (position, range) = &mut columns[turn];
            let mut piece = vec![0; random.random_range(0..300_000)];
            let read = range.read(&mut piece).expect("bytes");
            assert_eq!(piece[..read], bytes[*position as usize..][..read]);
            assert!(read > 0 || piece.is_empty() || *position == size);
            *position += read as u64;
        }
        assert!(reader.get_bytes(size - 1, 2).is_err() && reader.get_read(size + 1).is_err());
    };
    tokio::task::spawn_blocking(reading).await.expect("equal bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_blocks_are_kept_than_the_bound() {
    let size = 40 * BLOCK + 5;
    let object = object(&Arc::default(), vec![7; size as usize]).await;
    let Access::Remote { remote, path } = &object.access else { panic!("a remote object") };
    let blocks = Blocks::new(RemoteFile::new(&object, remote, path), Handle::current());
    let reading = move || {
        let mut whole = RemoteRange::new(blocks.clone(), 0);
        let read = io::copy(&mut whole, &mut io::sink()).expect("bytes");
        assert_eq!(read, size);
        let kept = blocks.kept();
        assert_eq!(kept.len(), BLOCKS);
        // The last ones, in the order of their use.
        assert!(
            kept.iter().map(|(index, _)| *index).is_sorted() && kept.iter().any(|(index, _)| *index == 40)
        );
    };
    tokio::task::spawn_blocking(reading).await.expect("bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_while_it_is_read_is_refused() {
    let store = Arc::default();
    let old = object(&store, vec![1; 3 * BLOCK as usize]).await;
    let reader: ObjectReader = old.open().await.expect("a reader");
    let first = reader.clone();
    let first = tokio::task::spawn_blocking(move || first.get_bytes(0, 10)).await.expect("no panic");
    assert_eq!(first.expect("bytes"), [1; 10].as_slice());
    // The same size, other bytes.
    let new = object(&store, vec![2; 3 * BLOCK as usize]).await;
    let reading = move || {
        let error = reader.get_bytes(2 * BLOCK, 10).expect_err("replaced");
        assert!(matches!(SourceError::behind(&error), Some(SourceError::Changed { .. })), "{error}");
        assert!(matches!(reader.unchanged(), Err(SourceError::Changed { .. })));
    };
    tokio::task::spawn_blocking(reading).await.expect("refused");
    assert_ne!(new.identity(), old.identity());
    // Deleted.
    store.delete(&Path::from("a.parquet")).await.expect("deleted");
    let reader = new.open().await.expect("a reader");
    let error = tokio::task::spawn_blocking(move || reader.get_bytes(0, 1))
        .await
        .expect("no panic")
        .expect_err("gone");
    assert!(matches!(SourceError::behind(&error), Some(SourceError::Missing { .. })), "{error}");
}
