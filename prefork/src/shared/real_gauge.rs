//! A gauge of real numbers, as libraries have them that count with the `metrics` facade.

use super::cell::Cell;
use super::region::Target;
use super::series::Series;
use crate::sync::atomic::{AtomicU64, Ordering};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct RealGauge {
    cell: Cell,
}

impl RealGauge {
    pub(super) fn at(series: Series, target: Target) -> Self {
        Self { cell: Cell::at(series, target) }
    }

    pub(super) fn add(&self, change: f64) {
        self.cell.update(|cell, order| update(cell, order, |value| value + change));
    }

    /// Sets what this process contributes to the fleet's sum.
    pub(super) fn set(&self, value: f64) {
        self.cell.update(|cell, order| update(cell, order, |_| value));
    }
}

/// A result that is not finite would stay for ever: it is left out.
fn update(cell: &AtomicU64, order: Ordering, change: impl Fn(f64) -> f64) {
    let changed =
        |bits| Some(change(f64::from_bits(bits))).filter(|value| value.is_finite()).map(f64::to_bits);
    // An error: nothing was changed.
    let _ = cell.fetch_update(order, Ordering::Relaxed, changed);
}
