//! [`Max`] and [`Min`].
//!
//! A cell holds the number in an order-preserving code, so that the greater number is the greater word. 0 is the code
//! of no number: a new lane has recorded nothing.

use std::fmt;
use std::sync::atomic::Ordering;

use super::cell::Cell;
use super::series::{Kind, Series};

/// The greatest number that was recorded by any process of the fleet, since the fleet's start: the longest request,
/// the largest body. It outlives the process that recorded it.
///
/// ```
/// use prefork::shared::Max;
///
/// static LARGEST: Max = Max::new("app_largest_body_bytes", "The largest body received");
///
/// assert_eq!(LARGEST.get(), None);
/// LARGEST.record(512.0);
/// LARGEST.record(100.0);
/// assert_eq!(LARGEST.get(), Some(512.0));
/// ```
///
/// # Cost
///
/// A number that is not greater than the process's own maximum costs two loads.
pub struct Max {
    cell: Cell,
}

/// The least number that was recorded by any process of the fleet, since the fleet's start; see [`Max`].
pub struct Min {
    cell: Cell,
}

impl Max {
    /// A maximum with this name and help; the name ends in its unit, such as `app_longest_request_seconds`.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`](super::Counter::new).
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { cell: Cell::new(Series::new(Kind::Max, name, help)) }
    }

    /// Records a number. NaN is ignored.
    #[inline]
    pub fn record(&self, value: f64) {
        record(&self.cell, encode_max(value));
    }

    /// The greatest number of the fleet; `None` if none was recorded. See
    /// [`Counter::total`](super::Counter::total) for the cost.
    #[must_use]
    pub fn get(&self) -> Option<f64> {
        decode_max(self.cell.total())
    }
}

impl Min {
    /// A minimum with this name and help; the name ends in its unit.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`](super::Counter::new).
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { cell: Cell::new(Series::new(Kind::Min, name, help)) }
    }

    /// Records a number. NaN is ignored.
    #[inline]
    pub fn record(&self, value: f64) {
        record(&self.cell, encode_min(value));
    }

    /// The least number of the fleet; `None` if none was recorded. See
    /// [`Counter::total`](super::Counter::total) for the cost.
    #[must_use]
    pub fn get(&self) -> Option<f64> {
        decode_min(self.cell.total())
    }
}

impl fmt::Debug for Max {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.series().debug("Max", f)
    }
}

impl fmt::Debug for Min {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.series().debug("Min", f)
    }
}

#[inline]
fn record(cell: &Cell, code: u64) {
    cell.update(|cell, order| {
        // In a private cell, a number that changes nothing needs no move either.
        if code > cell.load(Ordering::Relaxed) {
            cell.fetch_max(code, order);
        }
    });
}

/// A word that is the greater, the greater the number is; 0 for NaN.
fn encode_max(value: f64) -> u64 {
    let bits = value.to_bits();
    if value.is_nan() {
        0
    } else if value.is_sign_negative() {
        // The greater the magnitude, the less the number. None of these is 0: that would be NaN.
        !bits
    } else {
        bits | 1 << 63
    }
}

/// `None` for the code of no number.
pub(super) fn decode_max(code: u64) -> Option<f64> {
    let bits = if code >> 63 == 1 { code & !(1 << 63) } else { !code };
    Some(f64::from_bits(bits)).filter(|value| !value.is_nan())
}

/// The code of the opposite number.
fn encode_min(value: f64) -> u64 {
    encode_max(-value)
}

pub(super) fn decode_min(code: u64) -> Option<f64> {
    decode_max(code).map(|value| -value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn codes_have_the_order_of_their_numbers(one: f64, other: f64) {
            prop_assume!(!one.is_nan() && !other.is_nan());
            prop_assert_eq!(one < other, encode_max(one) < encode_max(other) && one != other);
            prop_assert_eq!(decode_max(encode_max(one)), Some(one));
            prop_assert_eq!(decode_min(encode_min(one)), Some(one));
            prop_assert!(encode_max(one) != 0 && encode_min(one) != 0);
        }

        #[test]
        fn any_word_is_decoded_to_a_number_or_none(code: u64) {
            prop_assert!(decode_max(code).is_none_or(|value| !value.is_nan()));
        }
    }

    #[test]
    fn limits_of_the_type_have_codes_and_nan_has_none() {
        let ascending = [f64::NEG_INFINITY, f64::MIN, -1.0, -0.0, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY];
        assert!(ascending.is_sorted_by_key(|value| encode_max(*value)));
        assert!(ascending.iter().rev().is_sorted_by_key(|value| encode_min(*value)));
        assert_eq!((encode_max(f64::NAN), encode_max(-f64::NAN), decode_max(0)), (0, 0, None));
        assert_eq!((encode_min(f64::NAN), decode_min(0)), (0, None));
    }
}
