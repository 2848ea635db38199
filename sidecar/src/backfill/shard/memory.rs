//! Memory budget of blocks, from building until sent.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Size of most chunks: the amount handed to a connection at once.
pub(super) const CHUNK: usize = 1 << 20;

/// Memory budget of blocks. Building a slice waits until enough blocks of earlier slices are sent.
#[derive(Debug)]
pub(crate) struct Memory {
    all: usize,
    state: Mutex<PoolState>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    /// Bytes of all blocks.
    taken: usize,
    /// Bytes of the slice that is being built.
    building: usize,
    /// Sent chunks of [`CHUNK`] bytes, kept for reuse. An allocator that gets them back splits them
    /// for decoded values and then requests more memory from the system.
    idle: Vec<Vec<u8>>,
}

impl Memory {
    /// A budget of this many bytes.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        let all = usize::try_from(bytes).unwrap_or(usize::MAX);
        Arc::new(Self { all, state: Mutex::default(), given_back: Condvar::new() })
    }

    /// Waits until the budget has room for `bytes`, and reserves them for the slice that is being
    /// built. A slice larger than the whole budget may exceed it once it is alone, because waiting
    /// for itself would never end.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Chunk {
        let blocked = |state: &mut PoolState| {
            state.taken.saturating_add(bytes) > self.all && state.taken > state.building
        };
        let waited = self.given_back.wait_while(self.lock(), blocked);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.taken += bytes;
        state.building += bytes;
        let idle = if bytes == CHUNK { state.idle.pop() } else { None };
        state.bound(self.all);
        drop(state);
        Chunk { bytes: idle.unwrap_or_else(|| Vec::with_capacity(bytes)), taken: bytes, memory: self.clone() }
    }

    /// Ends the slice that is being built. From here on its bytes are released independently of the
    /// slicer.
    pub(super) fn built(&self) {
        self.lock().building = 0;
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    /// Frees idle chunks that no longer fit beside the reserved bytes.
    fn bound(&mut self, all: usize) {
        self.idle.truncate(all.saturating_sub(self.taken) / CHUNK);
    }
}

/// A reservation in a [`Memory`], released when dropped.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The written bytes, never more than reserved.
    pub(super) bytes: Vec<u8>,
    taken: usize,
    memory: Arc<Memory>,
}

impl Chunk {
    /// Releases unwritten bytes while the slice is being built.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        let less = self.taken - self.bytes.len();
        self.taken -= less;
        let mut state = self.memory.lock();
        state.taken -= less;
        state.building = state.building.saturating_sub(less);
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut state = self.memory.lock();
        state.taken -= self.taken;
        if self.taken == CHUNK {
            self.bytes.clear();
            state.idle.push(std::mem::take(&mut self.bytes));
            state.bound(self.memory.all);
        }
        self.memory.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_next_slice_waits_for_the_last_to_be_sent() {
        let memory = Memory::new(10);
        let (first, second) = (memory.take(4), memory.take(5));
        memory.built();
        let (taken, waits) = mpsc::channel();
        let other = memory.clone();
        let building = thread::spawn(move || {
            let chunks = [other.take(1), other.take(5)];
            taken.send(other.taken()).expect("somebody listens");
            drop(chunks);
        });
        // Nine bytes are reserved. One more fits; five more don't until five are released.
        drop(second);
        assert_eq!(waits.recv(), Ok(10));
        building.join().expect("no panic");
        assert_eq!(memory.taken(), 4);
        drop(first);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn a_slice_larger_than_everything_does_not_wait_for_itself() {
        let memory = Memory::new(10);
        let mut chunks = vec![memory.take(8), memory.take(8)];
        chunks[0].bytes.push(7);
        chunks[0].shrink();
        assert_eq!(memory.taken(), 9);
        chunks.push(memory.take(8));
        assert_eq!(memory.taken(), 17);
    }

    #[test]
    fn chunks_are_kept_for_the_next_as_long_as_there_is_room() {
        let memory = Memory::new(3 * CHUNK as u64);
        let mut chunk = memory.take(CHUNK);
        chunk.bytes.push(7);
        let place = chunk.bytes.as_ptr();
        drop([chunk, memory.take(CHUNK), memory.take(5)]);
        let again = memory.take(CHUNK);
        assert!(again.bytes.is_empty());
        // A large chunk needs the room of the idle ones.
        let large = memory.take(2 * CHUNK);
        assert!(memory.lock().idle.is_empty());
        drop(large);
        let kept = [memory.take(CHUNK), again].map(|chunk| chunk.bytes.as_ptr());
        assert!(kept.contains(&place), "{place:?} is not among {kept:?}");
    }
}
