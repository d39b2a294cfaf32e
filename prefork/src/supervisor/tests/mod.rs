//! Complete fleets on a virtual clock.
//!
//! - `virtual_fleet.rs`: the simulated driver and its children
//! - `check.rs`: the invariants of every history
//! - `all_sequences.rs`: every sequence of events to a depth, and the rules that each of them keeps
//! - the other files: tests, by subject

mod all_sequences;
mod canary;
mod canary_model;
mod changed_settings;
mod check;
mod failed_starts;
mod leader;
mod links;
mod random;
mod recovery;
mod resizing;
mod rollout;
mod status;
mod stopping;
mod template_driver;
mod templates;
mod totals;
mod trial;
mod virtual_fleet;

use std::time::{Duration, Instant};

use virtual_fleet::{Fleet, NEVER_READY, Nature, STILLBORN, STUBBORN, Start, UNSTARTABLE, WELL};

use super::{
    Action, CanaryChoice, ChildId, Event, Exit, Hook, RecoverPolicy, RecycleReason, Remark, Request,
    Settings, Supervisor, Tally, Verdict,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The time from a kill to the exit of a simulated process.
const DEATH: Duration = ms(10);
/// The longest time from the order of a child until a template has forked it.
const LONGEST_FORK: Duration = ms(100);

/// The settings of most tests. A healthy child boots in 100 ms and stops in 100 ms.
pub(crate) fn settings(workers: usize) -> Settings {
    Settings {
        workers,
        most_workers: 8,
        recover: RecoverPolicy::new(None, None, Duration::ZERO),
        grace: secs(5),
        start_timeout: secs(10),
        stop_delay: Duration::ZERO,
        reload_parallel: 1,
        max_lifetime: None,
        canary: 0,
        hold: None,
        asks_canary: false,
    }
}
