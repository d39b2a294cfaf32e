//! What was done and what was logged, with times, and the facts that can explain a failed request.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prefork_tests::accepts;

/// A time in milliseconds of the clock that all processes share.
pub(crate) type Millis = u64;

pub(crate) fn now() -> Millis {
    accepts::now() / 1_000_000
}

/// A doomed child is dead after this time. A later process can have its pid.
pub(crate) const DEATH: Millis = 90_000;

/// A reason for failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    /// From this time on the child may die at any moment, with what it has accepted.
    Doomed { pid: u32, from: Millis, died: Option<Millis>, how: &'static str },
    /// The fleet accepts no new connection. With `killed`, what is queued is lost.
    Down { from: Millis, until: Option<Millis>, killed: bool, how: &'static str },
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<(Millis, String)>,
    facts: Vec<Fact>,
    violations: Vec<String>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Journal {
    start: Millis,
    state: Mutex<State>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { start: now(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.lock().entries.push((now(), text.into()));
    }

    /// Notes and reports what must not happen.
    pub(crate) fn violation(&self, text: impl Into<String>) {
        let text = text.into();
        let at = self.seconds(now());
        eprintln!("{at} INVARIANT BROKEN: {text}");
        let mut state = self.lock();
        state.entries.push((now(), format!("INVARIANT BROKEN: {text}")));
        state.violations.push(format!("{at} {text}"));
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// The child dies, now or soon. To be called before the fault.
    pub(crate) fn doom(&self, pid: u32, how: &'static str) {
        self.doom_since(pid, now(), how);
    }

    pub(crate) fn doom_since(&self, pid: u32, from: Millis, how: &'static str) {
        let mut state = self.lock();
        state.facts.push(Fact::Doomed { pid, from, died: None, how });
        state.entries.push((now(), format!("child {pid}: {how}")));
    }

    /// The child is dead, if it was doomed.
    pub(crate) fn dead(&self, child: u32) {
        let at = now();
        for fact in &mut self.lock().facts {
            if let Fact::Doomed { pid, died: died @ None, .. } = fact
                && *pid == child
            {
                *died = Some(at);
            }
        }
    }

    /// The doomed children that have not died.
    pub(crate) fn dying(&self) -> Vec<u32> {
        let dying = |fact: &Fact| match fact {
            Fact::Doomed { pid, died: None, .. } => Some(*pid),
            _ => None,
        };
        self.lock().facts.iter().filter_map(dying).collect()
    }

    /// The fleet ends.
    pub(crate) fn down(&self, killed: bool, how: &'static str) {
        self.lock().facts.push(Fact::Down { from: now(), until: None, killed, how });
    }

    /// A new fleet listens.
    pub(crate) fn up(&self) {
        let at = now();
        for fact in &mut self.lock().facts {
            if let Fact::Down { until: until @ None, .. } = fact {
                *until = Some(at);
            }
        }
    }

    /// Whether a fault was injected that ends this child.
    pub(crate) fn is_doomed(&self, child: u32) -> bool {
        let since = now().saturating_sub(DEATH);
        let is_it =
            |fact: &Fact| matches!(fact, Fact::Doomed { pid, from, .. } if *pid == child && *from >= since);
        self.lock().facts.iter().any(is_it)
    }

    pub(crate) fn facts(&self) -> Vec<Fact> {
        self.lock().facts.clone()
    }

    /// The entries between two times.
    pub(crate) fn excerpt(&self, from: Millis, until: Millis) -> Vec<String> {
        let state = self.lock();
        let entries = state.entries.iter().filter(|(at, _)| (from..=until).contains(at));
        entries.map(|(at, text)| format!("{} {text}", self.seconds(*at))).collect()
    }

    /// A time, from the start of the journal.
    pub(crate) fn seconds(&self, at: Millis) -> String {
        let millis = at.saturating_sub(self.start);
        format!("{:5}.{:03}", millis / 1000, millis % 1000)
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::options().create(true).append(true).open(path)?);
        for line in self.excerpt(0, Millis::MAX) {
            writeln!(file, "{line}")?;
        }
        file.flush()
    }
}
