//! Waits for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// The time limit for any condition. It asserts no speed; it turns a hang into a failure with a message.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Calls `condition` until it returns a value; panics with `what` after [`LIMIT`].
pub fn for_value<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    for_value_or(|| what.to_owned(), condition)
}

/// [`for_value`] with a description that is made only for the panic.
pub fn for_value_or<T>(what: impl FnOnce() -> String, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        if start.elapsed() > LIMIT {
            panic!("timed out after {LIMIT:?}: {}", what());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Calls `condition` until it returns true; panics with `what` after [`LIMIT`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for_value(what, || condition().then_some(()));
}
