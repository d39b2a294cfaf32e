//! [`Counter`].

use std::fmt;

use super::cell::Cell;
use super::region::Target;
use super::series::{Kind, Series};

/// A number that only grows, over all processes of the fleet and over all their lives: requests, bytes, errors.
///
/// ```
/// use prefork::shared::Counter;
///
/// static REQUESTS: Counter = Counter::new("app_requests_total", "Requests answered");
///
/// REQUESTS.inc();
/// assert_eq!(REQUESTS.total(), 1);
/// ```
///
/// # Requests
///
/// Counters whose name is `requests_total` or ends in `_requests_total` are the program's requests, whatever their
/// labels: `/status`, `preforkctl` and the page of the health endpoint tell how many each child has counted. So name
/// requests that the program makes itself otherwise, such as `app_upstream_calls_total`.
///
/// # Cost
///
/// After the first use in a process, an increment is one relaxed atomic addition in memory that no other process
/// writes. The first use takes microseconds: it finds the counter's place by its name.
///
/// # Exactness
///
/// An increment that has returned is never lost, even if its process is killed right after it. It wraps around
/// after 2^64.
pub struct Counter {
    cell: Cell,
}

impl Counter {
    /// A counter with this name and help, as Prometheus has them: the name ends in its unit and `_total`, such as
    /// `app_sent_bytes_total`. Counters with the same name are one, in all processes.
    ///
    /// # Panics
    ///
    /// If Prometheus does not allow the name (`[a-zA-Z_:][a-zA-Z0-9_:]*`), it is longer than 128 bytes or begins
    /// with `prefork_`, or the help is longer than 512 bytes. For a `static` that is an error of the compiler:
    ///
    /// ```compile_fail
    /// # use prefork::shared::Counter;
    /// static REQUESTS: Counter = Counter::new("app-requests-total", "Prometheus does not allow `-`");
    /// ```
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { cell: Cell::new(Series::new(Kind::Counter, name, help)) }
    }

    /// One whose cell is known.
    pub(super) fn at(series: Series, target: Target) -> Self {
        Self { cell: Cell::at(series, target) }
    }

    /// Raises what this process has counted to `count`, if it is less.
    #[cfg(feature = "metrics")]
    pub(super) fn raise(&self, count: u64) {
        self.cell.update(|cell, order| cell.fetch_max(count, order));
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `count`.
    #[inline]
    pub fn add(&self, count: u64) {
        self.cell.update(|cell, order| cell.fetch_add(count, order));
    }

    /// The fleet's count: of every process that is alive or has ended since the fleet's start. In a process that
    /// belongs to no fleet, its own.
    ///
    /// It takes a lock and reads a cell of each process: for tests and rare decisions, not for each request.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cell.total()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.series().debug("Counter", f)
    }
}
