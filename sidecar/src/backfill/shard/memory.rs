//! How many bytes blocks may take, from the moment their rows are built until they have been sent.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The bytes that blocks may take. Whoever builds the next slice waits for those of the last to be sent.
#[derive(Debug)]
pub struct Memory {
    all: u64,
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What all blocks have.
    taken: u64,
    /// What those of the slice that is being built have.
    building: u64,
}

impl Memory {
    /// Memory of so many bytes.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { all: bytes, state: Mutex::default(), given_back: Condvar::new() })
    }

    /// Waits until `bytes` more are free, and takes them for the slice that is being built. One that is larger than
    /// everything takes more, once it is alone: to wait for itself would be to wait for ever.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Room {
        let blocked =
            |state: &mut State| state.taken.saturating_add(bytes) > self.all && state.taken > state.building;
        let waited = self.given_back.wait_while(self.lock(), blocked);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.taken += bytes;
        state.building += bytes;
        Room { memory: self.clone(), bytes }
    }

    /// The slice is built: from here on its bytes go back without whoever built it.
    pub(super) fn built(&self) {
        self.lock().building = 0;
    }

    /// What is taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some of a [`Memory`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Room {
    /// Gives back what is above `bytes`, while the slice is being built.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        let mut state = self.memory.lock();
        state.taken -= less;
        state.building = state.building.saturating_sub(less);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.lock().taken -= self.bytes;
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
            let rooms = [other.take(1), other.take(5)];
            taken.send(other.taken()).expect("somebody listens");
            drop(rooms);
        });
        // Nine are taken: one more fits, five more do not before five go back.
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
        let mut rooms = vec![memory.take(8), memory.take(8)];
        rooms[0].shrink(1);
        assert_eq!(memory.taken(), 9);
        rooms.push(memory.take(8));
        assert_eq!(memory.taken(), 17);
    }
}
