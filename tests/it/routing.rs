//! Routing of rows to shards, for any weights and any bytes.

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Context, ensure};
use posthouse_tests::site::Site;
use posthouse_tests::stack::{Progress, Stack, StackSpec};
use posthouse_udf::shard::{Weights, shard_key};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use uuid::Builder;

use crate::seed;

tests! {
    Own rows_are_on_the_shards_that_rust_and_the_function_name,
}

/// Strings to route.
const ROWS: usize = 20_000;
/// The maximum of the random weights.
const MAX_WEIGHT: u32 = 12;

/// A typical id, a unicode one, random bytes, or a long one. The first is empty.
fn id(number: usize, random: &mut StdRng) -> Vec<u8> {
    match (number, random.random_range(0..100)) {
        (0, _) => Vec::new(),
        (_, 0..40) => format!("user-{}@example.com", random.random::<u32>()).into_bytes(),
        (_, 40..60) => {
            (0..random.random_range(1..30)).map(|_| random.random::<char>()).collect::<String>().into_bytes()
        }
        (_, 60..98) => bytes(random, 0..64),
        _ => bytes(random, 1_000..5_000),
    }
}

fn bytes(random: &mut StdRng, length: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(length)];
    random.fill_bytes(&mut bytes);
    bytes
}

fn rows_are_on_the_shards_that_rust_and_the_function_name() -> anyhow::Result<()> {
    // GIVEN four shards with random weights
    let mut random = StdRng::seed_from_u64(seed("routing")?);
    let weights: Vec<u32> = (0..4).map(|_| random.random_range(1..=MAX_WEIGHT)).collect();
    eprintln!("routing: weights {weights:?}");
    let stack = Stack::start(StackSpec::sharded(&weights), &Progress::Silent)?;
    let site = Site::new(&stack, "routing")?;
    site.apply()?;
    site.must(&["udf", "install"])?;
    // WHEN strings of all kinds are inserted through one node
    let mut insert = "INSERT INTO {db}.writable_events (uuid, distinct_id, timestamp) \
        SELECT uuid, unhex(id), toDateTime64(0, 6, 'UTC') FROM input('uuid UUID, id String') FORMAT TSV\n"
        .to_owned();
    let mut wanted = HashMap::with_capacity(ROWS);
    let chooser = Weights::new(&weights)?;
    for number in 0..ROWS {
        let (uuid, id) =
            (Builder::from_random_bytes(random.random()).into_uuid().to_string(), id(number, &mut random));
        let hex = id.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
        writeln!(insert, "{uuid}\t{hex}")?;
        wanted.insert(uuid, (hex, chooser.shard_of(shard_key(&id))));
    }
    site.query(&insert)?;
    // THEN every row is stored once, unchanged, on the shard that Rust and the function compute
    let rows = site.query(&format!(
        "SELECT uuid, hex(distinct_id), _shard_num, shardOf(distinct_id, {weights:?}) FROM {{db}}.events"
    ))?;
    for row in rows.lines() {
        let mut columns = row.split('\t');
        let mut column = || columns.next().context("four columns");
        let (uuid, hex, found, named) = (column()?, column()?, column()?, column()?);
        let (wanted_hex, shard) = wanted.remove(uuid).with_context(|| format!("{uuid} is there twice"))?;
        ensure!(hex == wanted_hex, "{uuid}: {hex} is not {wanted_hex}");
        let shard = shard.to_string();
        ensure!(
            found == shard && named == shard,
            "{hex}: on {found}, the function says {named}, Rust {shard}"
        );
    }
    ensure!(wanted.is_empty(), "{} rows are missing", wanted.len());
    Ok(())
}
