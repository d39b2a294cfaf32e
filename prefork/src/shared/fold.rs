//! What becomes of cells: how those of one lane join a total. Pure but for the cells themselves.
//!
//! | kind | while its process lives | when it has ended |
//! |---|---|---|
//! | counter, histogram | added | added for ever |
//! | gauge, also of real numbers | added | dropped |
//! | maximum, minimum | the greater, the smaller | the greater, the smaller of all time |

use super::layout::MAX_BOUNDS;
use super::series::Kind;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How often a histogram may change while it is read.
const TRIES: u32 = 8;

/// Whether the cells of all lanes are simply added.
pub(super) fn is_sum(kind: Kind) -> bool {
    matches!(kind, Kind::Counter | Kind::Gauge)
}

/// Adds the cells of a live process to a total.
pub(super) fn add(kind: Kind, total: &mut [u64], cells: &[AtomicU64]) {
    match kind {
        Kind::Histogram => {
            let mut counts = Counts::default();
            let sum = read_histogram(cells, &mut counts);
            add_histogram(total, &counts.0, sum);
        }
        _ => join(kind, total, cells.iter().map(|cell| cell.load(Ordering::Relaxed))),
    }
}

/// Adds what the cells of a live process have become since they were `since`, if that is known. A gauge and an
/// extreme have no past.
pub(super) fn add_since(kind: Kind, total: &mut [u64], cells: &[AtomicU64], since: Option<&[u64]>) {
    let Some(since) = since else { return add(kind, total, cells) };
    match kind {
        Kind::Counter => {
            // A counter that has shrunk was overwritten.
            let count =
                |(cell, since): (&AtomicU64, &u64)| cell.load(Ordering::Relaxed).saturating_sub(*since);
            join(kind, total, cells.iter().zip(since).map(count));
        }
        Kind::Histogram => {
            let mut counts = Counts::default();
            let sum = read_histogram(cells, &mut counts);
            let (buckets, sums) = split(since);
            for (count, before) in counts.0.iter_mut().zip(buckets) {
                *count = count.saturating_sub(*before);
            }
            add_histogram(total, &counts.0, sum - current_sum(buckets, sums));
        }
        _ => add(kind, total, cells),
    }
}

/// Moves what a process that has ended leaves from its cells to a total.
pub(super) fn take(kind: Kind, total: &mut [u64], cells: &[AtomicU64]) {
    let values = cells.iter().map(|cell| cell.swap(0, Ordering::AcqRel));
    match kind {
        Kind::Gauge | Kind::RealGauge => values.for_each(drop),
        Kind::Histogram => {
            let values: Vec<u64> = values.collect();
            let (buckets, sums) = split(&values);
            add_histogram(total, buckets, current_sum(buckets, sums));
        }
        _ => join(kind, total, values),
    }
}

/// Joins values that are each one cell.
fn join(kind: Kind, total: &mut [u64], values: impl Iterator<Item = u64>) {
    for (total, value) in total.iter_mut().zip(values) {
        *total = match kind {
            Kind::Max | Kind::Min | Kind::RateLimiter => value.max(*total),
            Kind::Flag | Kind::KeyedRateLimiter => value,
            Kind::RealGauge => add_real(*total, value),
            Kind::Counter | Kind::Gauge | Kind::Histogram => total.wrapping_add(value),
        };
    }
}

/// Moves a value that this process has counted in memory of its own.
pub(super) fn move_into(kind: Kind, home: &AtomicU64, private: &AtomicU64) {
    let value = private.swap(0, Ordering::SeqCst);
    if value == 0 {
        return;
    }
    match kind {
        Kind::Max | Kind::Min | Kind::RateLimiter => drop(home.fetch_max(value, Ordering::Relaxed)),
        Kind::Flag | Kind::KeyedRateLimiter => home.store(value, Ordering::Relaxed),
        Kind::RealGauge => {
            let added = |home| Some(add_real(home, value));
            // It always has a value.
            let _ = home.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
        }
        Kind::Counter | Kind::Gauge | Kind::Histogram => drop(home.fetch_add(value, Ordering::Relaxed)),
    }
}

/// The sum of two real numbers, as cells have them.
fn add_real(one: u64, other: u64) -> u64 {
    (f64::from_bits(one) + f64::from_bits(other)).to_bits()
}

/// The cells of a histogram: its buckets, and the two cells of its sum.
pub(super) fn split<T>(cells: &[T]) -> (&[T], &[T]) {
    cells.split_at(cells.len().saturating_sub(2))
}

/// The sum that belongs to these buckets: the one whose place is the parity of their total. An observation writes
/// the other one, and then counts in its bucket: the two are never apart, even if the process is killed.
fn current_sum(buckets: &[u64], sums: &[u64]) -> f64 {
    sums.get(parity(buckets.iter().copied())).copied().map_or(0.0, f64::from_bits)
}

pub(super) fn parity(buckets: impl Iterator<Item = u64>) -> usize {
    usize::from(buckets.fold(0, |parity, count| parity ^ count) & 1 == 1)
}

/// The buckets of a histogram; those that it does not have are 0.
pub(super) struct Counts(pub(super) [u64; MAX_BOUNDS + 1]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; MAX_BOUNDS + 1])
    }
}

/// The sum of a histogram, and its buckets: of one moment, unless it changes all the time.
pub(super) fn read_histogram(cells: &[AtomicU64], counts: &mut Counts) -> f64 {
    let (buckets, sums) = split(cells);
    let mut sum = 0;
    for _ in 0..TRIES {
        for (count, bucket) in counts.0.iter_mut().zip(buckets) {
            *count = bucket.load(Ordering::Acquire);
        }
        let place = parity(counts.0.iter().copied());
        sum = sums.get(place).map_or(0, |sum| sum.load(Ordering::Acquire));
        let mut pairs = buckets.iter().zip(&counts.0);
        if pairs.all(|(bucket, count)| bucket.load(Ordering::Relaxed) == *count) {
            break;
        }
    }
    f64::from_bits(sum)
}

/// A total has its sum twice, so that it is the sum for any parity.
fn add_histogram(total: &mut [u64], buckets: &[u64], sum: f64) {
    let Some((totals, [first, second])) = total.split_last_chunk_mut() else { return };
    for (total, count) in totals.iter_mut().zip(buckets) {
        *total = total.wrapping_add(*count);
    }
    *first = (f64::from_bits(*first) + sum).to_bits();
    *second = *first;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(values: &[u64]) -> Vec<AtomicU64> {
        values.iter().copied().map(AtomicU64::new).collect()
    }

    fn bits(value: f64) -> u64 {
        value.to_bits()
    }

    #[test]
    fn counters_stay_gauges_go_and_extremes_are_those_of_all_time() {
        for (kind, live, ended) in
            [(Kind::Counter, 12, 12), (Kind::Gauge, 12, 5), (Kind::Max, 7, 7), (Kind::Min, 7, 7)]
        {
            let lane = cells(&[7]);
            let mut total = [5];
            add(kind, &mut total, &lane);
            assert_eq!(total, [live], "{kind:?}");
            let mut total = [5];
            take(kind, &mut total, &lane);
            assert_eq!(total, [ended], "{kind:?}");
            take(kind, &mut total, &lane);
            assert_eq!(total, [ended], "{kind:?}: taken once");
        }
    }

    #[test]
    fn what_was_counted_since_a_mark_is_the_difference() {
        let mut total = [1];
        add_since(Kind::Counter, &mut total, &cells(&[9]), Some(&[5]));
        add_since(Kind::Counter, &mut total, &cells(&[3]), None);
        add_since(Kind::Counter, &mut total, &cells(&[3]), Some(&[4]));
        assert_eq!(total, [8], "a counter that shrinks counts nothing");
        let mut total = [0];
        add_since(Kind::Gauge, &mut total, &cells(&[9]), Some(&[5]));
        assert_eq!(total, [9]);
        // One observation of 1.5 before the mark, and two of 2.0 since.
        let mut total = [0, 0, bits(0.0), bits(0.0)];
        let now = cells(&[1, 2, bits(3.5), bits(5.5)]);
        add_since(Kind::Histogram, &mut total, &now, Some(&[1, 0, bits(0.0), bits(1.5)]));
        assert_eq!(total, [0, 2, bits(4.0), bits(4.0)]);
    }

    #[test]
    fn real_numbers_are_added_and_go_with_their_process() {
        let mut total = [0];
        for value in [0.5, 1.25, -3.0] {
            add(Kind::RealGauge, &mut total, &cells(&[bits(value)]));
        }
        assert_eq!(total, [bits(-1.25)]);
        take(Kind::RealGauge, &mut total, &cells(&[bits(7.0)]));
        assert_eq!(total, [bits(-1.25)]);
        let (home, private) = (AtomicU64::new(bits(0.25)), AtomicU64::new(bits(0.5)));
        move_into(Kind::RealGauge, &home, &private);
        assert_eq!((home.into_inner(), private.into_inner()), (bits(0.75), 0));
    }

    #[test]
    fn negative_contributions_of_gauges_cancel() {
        let mut total = [0];
        for value in [-3_i64, 5, -2] {
            add(Kind::Gauge, &mut total, &cells(&[u64::from_ne_bytes(value.to_ne_bytes())]));
        }
        assert_eq!(total, [0]);
    }

    #[test]
    fn sum_of_a_histogram_is_that_of_its_counted_observations() {
        // Two observations of 1.5 are counted; a third one has written its sum, and was killed.
        let lane = cells(&[2, 0, bits(3.0), bits(4.5)]);
        let mut total = [0; 4];
        add(Kind::Histogram, &mut total, &lane);
        assert_eq!(total, [2, 0, bits(3.0), bits(3.0)]);
        take(Kind::Histogram, &mut total, &lane);
        assert_eq!(total, [4, 0, bits(6.0), bits(6.0)]);
        // With an odd number, the other place counts.
        take(Kind::Histogram, &mut total, &cells(&[2, 1, bits(3.0), bits(4.5)]));
        assert_eq!(total, [6, 1, bits(10.5), bits(10.5)]);
    }

    #[test]
    fn value_of_this_process_moves_by_the_rule_of_its_kind() {
        for (kind, expected) in [(Kind::Counter, 12), (Kind::Max, 7), (Kind::Flag, 5), (Kind::RateLimiter, 7)]
        {
            let (home, private) = (AtomicU64::new(7), AtomicU64::new(5));
            move_into(kind, &home, &private);
            move_into(kind, &home, &private);
            assert_eq!(home.into_inner(), expected, "{kind:?}");
            assert_eq!(private.into_inner(), 0);
        }
    }
}
