//! The standard error of a server, collected line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::wait;

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

/// The lines so far. A thread collects them.
#[derive(Debug, Clone)]
pub struct Console {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Console {
    /// Collects the lines of `source`.
    pub fn read(source: impl Read + Send + 'static) -> Self {
        let console = Self { shared: Arc::default() };
        let writer = console.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                writer.lock().lines.push(line);
                writer.shared.1.notify_all();
            }
            writer.lock().ended = true;
            writer.shared.1.notify_all();
        });
        console
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The lines so far that contain `text`.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(text)).collect()
    }

    /// Whether a line so far contains `text`.
    pub fn says(&self, text: &str) -> bool {
        !self.lines_with(text).is_empty()
    }

    /// Waits for a line that contains `text`; returns it.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_nth(1, text)
    }

    /// Waits until `n` lines contain `text`; returns the last of them.
    pub fn wait_for_nth(&self, n: usize, text: &str) -> String {
        self.wait(&format!("{n} of {text:?}"), |state| {
            state.lines.iter().filter(|line| line.contains(text)).nth(n - 1).cloned()
        })
    }

    /// Waits for the end of standard error: every process that held it has ended. Returns all lines.
    pub fn wait_for_end(&self) -> Vec<String> {
        self.wait("the end of standard error", |state| state.ended.then(|| state.lines.clone()))
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&State) -> Option<T>) -> T {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state) {
                return found;
            }
            let left = wait::LIMIT.saturating_sub(start.elapsed());
            let is_over = state.ended || left.is_zero();
            assert!(!is_over, "timed out or ended before {what}; standard error: {:#?}", state.lines);
            let waited = self.shared.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
