//! The cells of a histogram in one process.
//!
//! An observation changes two numbers, a count and a sum, and a process can be killed between them. So the sum has
//! two cells. An observation first writes the new sum to the one that does not count; then it adds 1 to its bucket,
//! which makes the total odd or even, and thereby makes that cell the one that counts. Threads of the process
//! exclude each other by a lock in its own memory: whoever holds it dies with all who wait.

use std::sync::OnceLock;

use super::fold::{self, Counts};
use super::series::Kind;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{hint, thread};

/// Set in the state while a thread changes the cells.
const LOCKED: u32 = 2;
/// How often a thread looks for the lock before it lets others run.
const SPINS: u32 = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct HistogramCells {
    bounds: &'static [f64],
    /// The lock, and in the lowest bit the place of the sum that counts.
    state: AtomicU32,
    private: Box<[AtomicU64]>,
    /// The cells of the region, once there are any.
    home: OnceLock<&'static [AtomicU64]>,
}

impl HistogramCells {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let private = (0..bounds.len() + 3).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, state: AtomicU32::new(0), private, home: OnceLock::new() }
    }

    /// Forgets what is in cells of this process. No thread counts meanwhile.
    pub(super) fn forget(&self) {
        self.private.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
        self.state.store(0, Ordering::Relaxed);
    }

    /// Counts a value that is finite.
    #[inline]
    pub(super) fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let place = self.lock();
        let (buckets, sums) = fold::split(self.cells());
        let next = place ^ 1;
        if let (Some(bucket), [first, second]) = (buckets.get(bucket), sums) {
            let (counts, other) = if place == 0 { (first, second) } else { (second, first) };
            let sum = f64::from_bits(counts.load(Ordering::Relaxed)) + value;
            // A reader that sees it sees the buckets of the observation before as well, and reads again.
            other.store(sum.to_bits(), Ordering::Release);
            // From here on the other sum counts.
            bucket.store(bucket.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
        self.state.store(next, Ordering::Release);
    }

    fn cells(&self) -> &[AtomicU64] {
        self.home.get().copied().unwrap_or(&self.private)
    }

    /// Takes the lock. Returns the place of the sum that counts.
    #[inline]
    fn lock(&self) -> u32 {
        let place = self.state.load(Ordering::Relaxed) & 1;
        let taken = self.state.compare_exchange(place, place | LOCKED, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() { place } else { self.wait_for_lock() }
    }

    #[cold]
    fn wait_for_lock(&self) -> u32 {
        let mut tries = 0_u32;
        loop {
            let place = self.state.load(Ordering::Relaxed) & 1;
            let taken =
                self.state.compare_exchange_weak(place, place | LOCKED, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                return place;
            }
            tries = tries.wrapping_add(1);
            if tries % SPINS == 0 {
                thread::yield_now();
            } else {
                hint::spin_loop();
            }
        }
    }

    /// Goes on in these cells, with what was counted so far.
    pub(super) fn move_to(&self, home: &'static [AtomicU64]) {
        let place = self.lock();
        if home.len() != self.private.len() || self.home.set(home).is_err() {
            self.state.store(place, Ordering::Release);
            return;
        }
        let mut counts = Counts::default();
        let before = fold::read_histogram(home, &mut counts);
        let sum = (fold::read_histogram(&self.private, &mut counts) + before).to_bits();
        let (buckets, sums) = fold::split(home);
        sums.iter().for_each(|cell| cell.store(sum, Ordering::Relaxed));
        for (bucket, count) in buckets.iter().zip(counts.0) {
            bucket.fetch_add(count, Ordering::Release);
        }
        let parity = fold::parity(buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)));
        self.state.store(u32::from(parity == 1), Ordering::Release);
    }

    /// What this process alone has counted.
    pub(super) fn read(&self) -> Vec<u64> {
        let mut total = vec![0; self.private.len()];
        fold::add(Kind::Histogram, &mut total, self.cells());
        total
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const BOUNDS: [f64; 2] = [1.0, 2.0];

    fn numbers(cells: &[AtomicU64]) -> (Vec<u64>, f64) {
        let mut counts = Counts::default();
        let sum = fold::read_histogram(cells, &mut counts);
        (counts.0[..cells.len() - 2].to_vec(), sum)
    }

    #[test]
    fn values_are_counted_in_the_bucket_whose_bound_they_do_not_exceed() {
        let cells = HistogramCells::new(&BOUNDS);
        for value in [0.5, 1.0, 1.5, 2.0, 3.0, -1.0] {
            cells.observe(value);
        }
        assert_eq!(numbers(cells.cells()), (vec![3, 2, 1], 7.0));
    }

    #[test]
    fn threads_lose_no_observation_also_while_the_cells_move() {
        let cells = HistogramCells::new(&BOUNDS);
        let home: &'static [AtomicU64] = Vec::leak((0..5).map(|_| AtomicU64::new(0)).collect());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000_u32).for_each(|value| cells.observe(f64::from(value % 4))));
            }
            scope.spawn(|| cells.move_to(home));
        });
        assert_eq!(numbers(cells.cells()), (vec![40_000, 20_000, 20_000], 120_000.0));
        assert_eq!(numbers(home), numbers(cells.cells()));
    }

    #[test]
    fn reader_sees_count_and_sum_of_one_moment() {
        let cells = HistogramCells::new(&BOUNDS);
        thread::scope(|scope| {
            let observe = || {
                for _ in 0..20_000 {
                    cells.observe(1.0);
                    (0..50).for_each(|_| hint::spin_loop());
                }
            };
            let writer = scope.spawn(observe);
            while !writer.is_finished() {
                let (counts, sum) = numbers(cells.cells());
                assert_eq!(sum.to_bits(), f64::from(u32::try_from(counts[0]).unwrap()).to_bits());
            }
        });
        assert_eq!(numbers(cells.cells()), (vec![20_000, 0, 0], 20_000.0));
    }
}
