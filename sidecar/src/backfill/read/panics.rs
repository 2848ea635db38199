//! Panics of the Parquet library as errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs code whose panics become errors.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `decode`, the only code here that may panic. An error or a panic becomes its text. The
/// panic's own report does not reach stderr, because the error has all that a user can act on.
pub(super) fn caught<T, E: ToString>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    silence_caught_panics();
    let outer = IS_CAUGHT.replace(true);
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    IS_CAUGHT.set(outer);
    match decoded {
        Ok(decoded) => decoded.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("the decoder panicked ({})", panic_text(&*panic))),
    }
}

fn silence_caught_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_CAUGHT.get() {
                report(panic);
            }
        }));
    });
}

/// Returns the message of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn reports_no_panic_that_becomes_an_error() {
        let reports = Arc::new(AtomicUsize::new(0));
        silence_caught_panics();
        let (counter, test) = (reports.clone(), std::thread::current().id());
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if std::thread::current().id() == test && !IS_CAUGHT.get() {
                counter.fetch_add(1, Ordering::Relaxed);
            } else {
                others(panic);
            }
        }));
        let error = caught(|| -> Result<(), String> { panic!("index {}", 7) });
        assert_eq!(error, Err("the decoder panicked (index 7)".to_owned()));
        assert_eq!(reports.load(Ordering::Relaxed), 0);
        assert!(catch_unwind(|| panic!("reported")).is_err());
        assert_eq!(reports.load(Ordering::Relaxed), 1);
    }
}
