//! Values that are the fleet's: counters, gauges, histograms, limits.
//!
//! Each child has its own memory, so that a counter in a plain `static` counts for its child only. A handle of this
//! module is a `static` as well, and counts for the fleet, without set-up:
//!
//! ```
//! use prefork::shared::{Counter, Gauge, Histogram};
//!
//! static REQUESTS: Counter = Counter::new("app_requests_total", "Requests answered");
//! static IN_FLIGHT: Gauge = Gauge::new("app_requests_in_flight", "Requests that are being answered");
//! static DURATION: Histogram = Histogram::new("app_request_duration_seconds", "Time to answer a request");
//!
//! fn answer() {
//!     let (_held, _timer) = (IN_FLIGHT.hold(), DURATION.timer());
//!     // …
//!     REQUESTS.inc();
//! }
//! # answer();
//! ```
//!
//! The name is the identity, in every process, program and version: handles with the same name and kind are one value,
//! whatever their order or place. What is counted is kept when a child ends, is killed, replaced or reloaded, and when
//! the master's program is upgraded.
//!
//! | | for | what the fleet's value is |
//! |---|---|---|
//! | [`Counter`] | requests, bytes, errors | the sum over all processes, past and present |
//! | [`Gauge`] | connections, queues | the sum over the live processes |
//! | [`Histogram`] | durations, sizes | the observations of all processes, past and present |
//! | [`Max`], [`Min`] | the slowest, the largest | the greatest, the least since the fleet's start |
//! | [`Flag`] | maintenance, read-only | what was set last |
//! | [`RateLimiter`] | logins, calls of a service | one limit for all processes |
//! | [`KeyedRateLimiter`] | requests of a client | a limit for each key, for all processes |
//!
//! [`CounterFamily`], [`GaugeFamily`] and [`HistogramFamily`] are for values with labels.
//!
//! # Which process
//!
//! The handles work in every process: in the master, in children, and in those of no fleet, such as unit tests, where
//! they count for their process. A value that is used before the fleet exists moves to the fleet when it does. A
//! process that a child forks has the child's cells, and must use no handle: it would change them after the child has
//! ended, and they may be another child's then. A process that it executes is of no fleet.
//!
//! # How it works
//!
//! The master makes one region of memory that the system keeps at its size, and gives every child a *lane* of it: 8,174
//! cells that no other process writes. An increment is a relaxed atomic addition to a cell of one's own lane. When a
//! child has ended, the master adds what is in its lane to the totals. A value of the whole fleet is the total and the
//! cells of every lane; it is added up when it is asked for, and costs nothing until then.
//!
//! The operations are atomic and relaxed: they order no other memory.
//!
//! # Limits
//!
//! There is room for 1,024 series (each set of label values is one), 8,174 cells (a histogram takes one for each
//! bucket, and two), 256 flags and rate limiters, and 16 keyed rate limiters. What finds no room counts in its own
//! process: a warning says so, and so does the metric `prefork_shared_full`. Where the region cannot be made, all
//! values count in their own process, a limit of N is one of N for each child, and `/metrics` has the master's values
//! only: a warning says what failed, and the metric `prefork_shared_region` is 0.
//!
//! The first use of a handle in a process allocates memory and takes a lock. So use none in a signal handler or in a
//! global allocator.
//!
//! A child that writes rubbish to the region spoils numbers, and nothing else: the master checks what it reads, and
//! keeps its totals in memory of its own.

mod cell;
mod clash;
mod counter;
mod directory;
mod entry;
mod extremes;
mod family;
mod flag;
mod fleet;
mod fold;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gauge;
mod histogram;
mod histogram_cells;
mod key_table;
mod keyed_limiter;
mod lane;
mod layout;
mod ledger;
mod limiter;
mod process;
#[cfg(feature = "metrics")]
mod real_gauge;
#[cfg(feature = "metrics")]
mod recorder;
#[allow(unsafe_code)]
mod region;
mod series;
mod snapshot;
mod view;
mod warning;

pub use counter::Counter;
pub use extremes::{Max, Min};
pub use family::{CounterFamily, GaugeFamily, HistogramFamily};
pub use flag::Flag;
pub(crate) use fleet::{
    FleetValues, LanePlace, PassedValues, collect, forget_private, has_region, join, note_drain, requests,
    use_logger,
};
pub use gauge::{Gauge, Held};
pub use histogram::{Histogram, Observations, Timer};
pub use keyed_limiter::KeyedRateLimiter;
pub(crate) use ledger::Mark;
pub use limiter::{Limited, RateLimiter};
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use recorder::Recorder;
pub(crate) use snapshot::{Sample, Snapshot, Value};
#[cfg(test)]
pub(crate) use {entry::Entry, series::Kind};
