//! Count and sum of a histogram are of one moment, for every reader at every moment: so also for a reader that comes
//! when the process was killed.

use super::*;
use crate::sync::model;

const BOUNDS: [f64; 1] = [1.0];

fn numbers(cells: &[AtomicU64]) -> (u64, u64) {
    let mut counts = Counts::default();
    let sum = fold::read_histogram(cells, &mut counts);
    (counts.0[0] + counts.0[1], sum.to_bits())
}

#[test]
fn reader_sees_the_sum_of_what_is_counted() {
    model::check("histogram and a reader", || {
        let cells: &HistogramCells = Box::leak(Box::new(HistogramCells::new(&BOUNDS)));
        let writer = thread::spawn(|| {
            cells.observe(0.5);
            cells.observe(2.0);
        });
        let read = numbers(cells.cells());
        assert!(
            [(0, 0.0), (1, 0.5), (2, 2.5)].map(|(count, sum)| (count, f64::to_bits(sum))).contains(&read),
            "{read:?}"
        );
        writer.join().unwrap();
        assert_eq!(numbers(cells.cells()), (2, 2.5_f64.to_bits()));
    });
}

#[test]
fn threads_lose_no_observation_while_the_cells_move() {
    model::check("histogram that moves", || {
        let cells: &HistogramCells = Box::leak(Box::new(HistogramCells::new(&BOUNDS)));
        let home: &[AtomicU64] = Vec::leak((0..4).map(|_| AtomicU64::new(0)).collect());
        let observer = thread::spawn(|| cells.observe(0.5));
        cells.move_to(home);
        observer.join().unwrap();
        assert_eq!(numbers(home), (1, 0.5_f64.to_bits()));
    });
}
