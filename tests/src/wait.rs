//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it. Says nothing about speed: it is there
/// so that a hang is a failure with a message.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Asks `condition` until it has an answer; panics with `what` if there is none in time.
pub fn for_some<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    for_some_or(|| what.to_owned(), condition)
}

/// [`for_some`], where what to say is only known when it has to be said.
pub fn for_some_or<T>(what: impl FnOnce() -> String, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        if start.elapsed() > LIMIT {
            panic!("waited {LIMIT:?} in vain for {}", what());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks `condition` until it holds; panics with `what` if it does not in time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for_some(what, || condition().then_some(()));
}
