//! Values whose drop may block, dropped on a separate thread.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::thread;

/// A client of the library. Its drop waits for the library's threads, and these may wait for a name
/// server.
pub(super) struct EndsAside<T: Send + 'static>(ManuallyDrop<T>);

impl<T: Send + 'static> EndsAside<T> {
    pub(super) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T: Send + 'static> Deref for EndsAside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + 'static> Drop for EndsAside<T> {
    fn drop(&mut self) {
        // SAFETY: the value is taken once, here, and no code can reach it afterwards.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        // If no thread can be spawned, the value is dropped here, because a closure that is not
        // spawned is dropped.
        let _ = thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(value));
    }
}
