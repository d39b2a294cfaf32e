//! The number of children, and why it is that one.

use std::thread;

use prefork_options as options;

use super::Prefork;
use crate::sys;

/// The number of children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkerCount {
    pub(super) count: usize,
    /// Why it is that number, if the program and the environment leave it to the system.
    pub(super) reason: Option<String>,
}

impl Prefork {
    pub(super) fn worker_count(&self) -> WorkerCount {
        if let Some(count) = self.get(&options::WORKERS) {
            return WorkerCount { count, reason: None };
        }
        // One, if the system does not tell how many CPUs there are.
        let parallelism = thread::available_parallelism().map_or(1, usize::from);
        let cores = sys::allowed_cpus().map_or(parallelism, |cpus| cpus.len());
        automatic(cores, parallelism, self.get(&options::MAX_WORKERS))
    }
}

/// One child for each core, unless a quota allows less than these cores, or `cap` is lower.
fn automatic(cores: usize, parallelism: usize, cap: Option<usize>) -> WorkerCount {
    let most = usize::try_from(options::WORKERS_MAX).unwrap_or(usize::MAX);
    let (count, reason) = match cap {
        Some(cap) if cap < parallelism => (cap, format!("`max_workers`, of {parallelism} cores")),
        _ if most < parallelism => (most, format!("the most, of {parallelism} cores")),
        _ if parallelism < cores => (parallelism, format!("CPU quota, of {cores} cores")),
        _ => (parallelism, "one per core".to_owned()),
    };
    WorkerCount { count, reason: Some(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_count_names_what_decided() {
        let count = |cores, parallelism, cap| {
            let WorkerCount { count, reason } = automatic(cores, parallelism, cap);
            format!("{count}: {}", reason.unwrap_or_default())
        };
        assert_eq!(count(8, 8, None), "8: one per core");
        assert_eq!(count(8, 8, Some(8)), "8: one per core");
        assert_eq!(count(8, 3, None), "3: CPU quota, of 8 cores");
        assert_eq!(count(8, 3, Some(2)), "2: `max_workers`, of 3 cores");
        assert_eq!(count(8, 8, Some(2)), "2: `max_workers`, of 8 cores");
        assert_eq!(count(9000, 9000, None), "8192: the most, of 9000 cores");
    }
}
