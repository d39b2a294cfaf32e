//! [`Gauge`].

use std::fmt;

use super::cell::Cell;
use super::lane::Accepting;
use super::process::PROCESS;
use super::region::Target;
use super::series::{Kind, Series};

/// A number that grows and shrinks, over all processes of the fleet: open connections, requests in flight, bytes
/// in a queue. The fleet's value is the sum of what its live processes hold. What a process held goes with it, even
/// if it is killed, so that no connection of a crashed child is counted for ever.
///
/// ```
/// use prefork::shared::Gauge;
///
/// static IN_FLIGHT: Gauge = Gauge::new("app_requests_in_flight", "Requests that are being answered");
///
/// {
///     let _held = IN_FLIGHT.hold();
///     assert_eq!((IN_FLIGHT.own(), IN_FLIGHT.total()), (1, 1));
/// }
/// assert_eq!(IN_FLIGHT.total(), 0);
/// ```
///
/// It costs what a [`Counter`](super::Counter) does.
pub struct Gauge {
    cell: Cell,
}

impl Gauge {
    /// A gauge with this name and help; the name ends in its unit, such as `app_queue_bytes`.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`](super::Counter::new).
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { cell: Cell::new(Series::new(Kind::Gauge, name, help)) }
    }

    /// One whose cell is known.
    pub(super) fn at(series: Series, target: Target) -> Self {
        Self { cell: Cell::at(series, target) }
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts 1.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Adds `change`, which may be negative.
    #[inline]
    pub fn add(&self, change: i64) {
        self.cell.update(|cell, order| cell.fetch_add(to_cell(change), order));
    }

    /// Sets what this process contributes to the fleet's sum, such as the length of its own queue. What other
    /// processes hold stays.
    #[inline]
    pub fn set(&self, value: i64) {
        // A change has to be an operation that reads as well: see `process`.
        self.cell.update(|cell, order| cell.swap(to_cell(value), order));
    }

    /// Adds 1 until the result is dropped.
    #[must_use = "the gauge is decremented when the result is dropped"]
    pub fn hold(&self) -> Held<'_> {
        self.inc();
        Held { gauge: self }
    }

    /// What this process holds of it.
    #[must_use]
    pub fn own(&self) -> i64 {
        from_cell(self.cell.read())
    }

    /// The sum of what the live processes of the fleet hold. In a process that belongs to no fleet, its own. See
    /// [`Counter::total`](super::Counter::total) for the cost.
    #[must_use]
    pub fn total(&self) -> i64 {
        from_cell(self.cell.total())
    }

    /// What those children hold together that use it and accept connections. `None` in a process that is no child of
    /// a fleet.
    pub(crate) fn accepting(&self) -> Option<Accepting> {
        PROCESS.accepting(self.cell.series())
    }
}

/// Sums of cells wrap around, as those of signed numbers do.
fn to_cell(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}

pub(super) fn from_cell(cell: u64) -> i64 {
    i64::from_ne_bytes(cell.to_ne_bytes())
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.series().debug("Gauge", f)
    }
}

/// One unit of a [`Gauge`], until it is dropped; see [`Gauge::hold`].
#[derive(Debug)]
pub struct Held<'a> {
    gauge: &'a Gauge,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
