//! Replay of the fuzz corpus, and random inputs for the person index.
//!
//! Each input is answered or refused without a panic.

#[path = "../fuzz/block_of_values.rs"]
mod block_of_values;
#[path = "../fuzz/damaged_index.rs"]
mod damaged_index;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use damaged_index::{DamagedIndex, Verdict};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::functions::FUNCTIONS;
use crate::serve::{ServeError, serve};

/// Returns the corpus of a fuzz target.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(folder).unwrap();
    let inputs: Vec<_> = files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() > 50, "only {} inputs of {target} are left", inputs.len());
    inputs
}

#[test]
fn any_bytes_are_answered_or_refused() {
    let (mut answered, mut refused) = (0, 0);
    for input in inputs("bytes") {
        let Some((first, input)) = input.split_first() else { continue };
        let function = FUNCTIONS[usize::from(*first) % FUNCTIONS.len()];
        match serve(function, input, std::io::sink()) {
            Ok(()) => answered += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}

#[test]
fn any_values_are_answered_or_refused_for_what_they_are() {
    let (mut answered, mut refused) = (0, 0);
    for input in inputs("values") {
        let Some((function, _, block)) = block_of_values::block_of_values(&input) else { continue };
        match serve(function, &*block, std::io::sink()) {
            Ok(()) => answered += 1,
            Err(ServeError::Rule(_)) => refused += 1,
            Err(error) => panic!("{function}: {error}"),
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}

/// Damaged indexes of one test run. `make fuzz` reads more.
const DAMAGED_INDEXES: u64 = 20_000;

/// Counts of inputs, and the slowest one.
#[derive(Default)]
struct Outcomes {
    answered: u64,
    refused: u64,
    slowest: Duration,
}

/// Names the input on which a test panics. `SEED` and `FUZZ_INPUTS=1` repeat it.
struct Input(u64);

impl Drop for Input {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("SEED={} FUZZ_INPUTS=1 repeats the input", self.0);
        }
    }
}

#[test]
fn any_damaged_index_is_read_or_refused() {
    let variable = |name: &str| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seed = variable("SEED").unwrap_or_else(rand::random);
    let inputs = variable("FUZZ_INPUTS").unwrap_or(DAMAGED_INDEXES);
    println!("SEED={seed} FUZZ_INPUTS={inputs}");
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64).min(inputs);
    let outcomes = thread::scope(|scope| {
        let share = |thread| inputs * thread / threads..inputs * (thread + 1) / threads;
        let run = |thread| scope.spawn(move || damage_indexes(seed, share(thread)));
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let sum = |count: fn(&Outcomes) -> u64| outcomes.iter().map(count).sum::<u64>();
    let (answered, refused) = (sum(|outcomes| outcomes.answered), sum(|outcomes| outcomes.refused));
    let slowest = outcomes.iter().map(|outcomes| outcomes.slowest).max();
    println!("{answered} answered, {refused} refused, the slowest in {slowest:?}");
    assert!(inputs == 1 || answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}

/// Reads the damaged indexes of inputs `numbers`. Each input has a seed of its own.
fn damage_indexes(seed: u64, numbers: Range<u64>) -> Outcomes {
    let folder = tempfile::tempdir().unwrap();
    let index = DamagedIndex::new(folder.path());
    let mut outcomes = Outcomes::default();
    for number in numbers {
        let input = Input(seed.wrapping_add(number));
        let mut random = StdRng::seed_from_u64(input.0);
        let mut data = vec![0; random.random_range(0..256)];
        random.fill_bytes(&mut data);
        let begin = Instant::now();
        match index.check(&data) {
            Verdict::Answered => outcomes.answered += 1,
            Verdict::Refused => outcomes.refused += 1,
        }
        outcomes.slowest = outcomes.slowest.max(begin.elapsed());
    }
    outcomes
}
