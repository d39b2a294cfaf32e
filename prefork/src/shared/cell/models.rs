//! What threads count while their process joins the fleet counts once.

use super::super::entry::Entry;
use super::super::lane::models::Memory;
use super::super::series::Kind;
use super::*;
use crate::sync::{model, thread};

const COUNTER: Series = Series::new(Kind::Counter, "a", "");

#[test]
fn threads_that_count_while_the_process_joins_lose_nothing() {
    static MEMORY: Memory = Memory::new();
    model::check("process that joins", || {
        let region = MEMORY.region();
        let lane = MEMORY.lane(&region, 1);
        let process: &Process = Box::leak(Box::new(Process::new()));
        let cell: &Cell = Box::leak(Box::new(Cell::new(COUNTER)));
        let count = move || {
            match cell.pointer.home() {
                Some(home) => home.fetch_add(1, Ordering::Relaxed),
                None => cell.update_elsewhere(process, |cell, order| cell.fetch_add(1, order)),
            };
        };
        let threads = [thread::spawn(count), thread::spawn(move || process.attach(lane))];
        count();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let placed = MEMORY.lane(&region, 1).place(&Entry::from(&COUNTER), usize::MAX).ok().unwrap();
        assert_eq!(placed.cells[0].load(Ordering::Relaxed), 2);
        assert_eq!(process.total(&COUNTER), [2]);
    });
}
