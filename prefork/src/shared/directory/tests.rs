use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::super::entry::tests::entry;
use super::super::layout::COMMON;
use super::super::region::{Mapping, Region};
use super::*;
use crate::sys::MemoryAccess;

/// The common part of a region that no other process has.
fn words() -> Mapping {
    let region = Region::create().unwrap();
    region.memory().map(0, COMMON * WORD, MemoryAccess::Write).unwrap()
}

fn place(directory: Directory<'_>, entry: &Entry) -> Result<Found, Unplaced> {
    directory.place(entry, usize::MAX, &|_, _| true)
}

fn counter(name: &str) -> Entry {
    let (help, labels, bounds) = ("help".to_owned(), Vec::new(), Vec::new());
    Entry { kind: Kind::Counter, name: name.to_owned(), help, labels, bounds }
}

fn labelled(value: usize) -> Entry {
    Entry { labels: vec![("value".to_owned(), value.to_string())], ..counter("family") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 32 }))]
    #[test]
    fn every_series_keeps_its_place_and_no_two_share_a_cell(
        entries in prop::collection::vec(entry(), 1..40)
    ) {
        let words = words();
        let directory = Directory::new(&words);
        let placed: Vec<_> = entries.iter().map(|entry| (entry, place(directory, entry))).collect();
        for (entry, found) in placed {
            prop_assert_eq!(place(directory, entry), found.clone());
            // Of these there are no more.
            prop_assert!(found.is_ok() || entry.kind == Kind::KeyedRateLimiter);
        }
        let mut cells = std::collections::BTreeMap::new();
        for slot in (0..SERIES).take_while(|slot| directory.is_used(*slot)) {
            let Some((entry, placement)) = directory.read(slot) else { continue };
            prop_assert!(entries.contains(&entry));
            for cell in placement.first..placement.first + placement.cells {
                prop_assert!(cells.insert((placement.kind.space() as u8, cell), slot).is_none());
            }
        }
    }

    #[test]
    fn directory_of_random_words_is_read_without_panic(
        noise in prop::collection::vec((0..COMMON, any::<u64>()), 0..200),
        index in prop::collection::vec((0..SERIES * INDEX_WORDS, any::<u64>()), 0..200),
        entry in entry(),
    ) {
        let words = words();
        let directory = Directory::new(&words);
        let _ = place(directory, &entry);
        for (place, word) in noise.into_iter().chain(index.into_iter().map(|(at, word)| (INDEX_AT + at, word))) {
            words[place].store(word, Ordering::Relaxed);
        }
        for (read, placement) in (0..SERIES).filter_map(|slot| directory.read(slot)) {
            prop_assert!(placement.first + placement.cells <= limit(placement.kind.space()));
            prop_assert_eq!(placement.cells, read.cells());
        }
        if let Ok(Found { placement, .. }) = place(directory, &entry) {
            prop_assert!(placement.fits(&entry));
        }
    }
}

#[test]
fn threads_that_add_the_same_series_at_once_agree() {
    let words = words();
    let directory = Directory::new(&words);
    let (start, count) = (Barrier::new(4), if cfg!(miri) { 10 } else { 200 });
    let place_all = || {
        start.wait();
        (0..count).map(|value| place(directory, &labelled(value)).unwrap().placement).collect::<Vec<_>>()
    };
    let placed: Vec<Vec<Placement>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(place_all)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(placed.iter().all(|places| *places == placed[0]));
    assert_eq!((0..SERIES).filter(|slot| directory.is_used(*slot)).count(), count);
}

#[test]
fn entry_that_was_only_claimed_is_completed_by_the_next_process() {
    let words = words();
    let directory = Directory::new(&words);
    let entry = counter("a");
    directory.index(0)[0].store(entry.identity(), Ordering::Relaxed);
    assert!(directory.is_used(0) && directory.read(0).is_none());
    place(directory, &counter("b")).unwrap();
    let found = place(directory, &entry).unwrap();
    assert_eq!(directory.read(0), Some((entry, found.placement)));
    assert!(!directory.is_used(2));
}

#[test]
fn full_directory_full_lanes_full_family_and_lack_of_memory_are_told() {
    let words = words();
    let directory = Directory::new(&words);
    assert_eq!(directory.place(&counter("a"), usize::MAX, &|_, _| false), Err(Unplaced::Full));
    for value in 0..3 {
        directory.place(&labelled(value), 3, &|_, _| true).unwrap();
    }
    assert_eq!(directory.place(&labelled(3), 3, &|_, _| true), Err(Unplaced::FamilyFull));
    directory.place(&labelled(2), 3, &|_, _| true).unwrap();
    assert_eq!([2, 3].map(|value| directory.has(&labelled(value), &|_, _| true)), [true, false]);
    let histogram = |value: usize| Entry {
        kind: Kind::Histogram,
        bounds: (0..64_u8).map(f64::from).collect(),
        name: format!("histogram_{value}"),
        ..labelled(value)
    };
    let placed = (0..).take_while(|value| place(directory, &histogram(*value)).is_ok()).count();
    assert_eq!(placed, (CELLS - FIRST_CELL - 3) / 67);
    let placed = (0..).take_while(|value| place(directory, &labelled(100 + value)).is_ok()).count();
    assert!(placed > 0, "what is left of the cells is used");
    place(directory, &labelled(0)).unwrap();
}

#[test]
fn series_of_one_name_and_two_kinds_are_apart_and_told() {
    let words = words();
    let directory = Directory::new(&words);
    let first = place(directory, &counter("a")).unwrap();
    let gauge = place(directory, &Entry { kind: Kind::Gauge, ..counter("a") }).unwrap();
    assert_ne!(first.placement.first, gauge.placement.first);
    assert_eq!((first.rivals, gauge.rivals), (vec![], vec![0]));
    assert_eq!(place(directory, &labelled(1)).unwrap().rivals, []);
    let histogram = Entry { kind: Kind::Histogram, bounds: vec![1.0], ..counter("h") };
    assert_eq!(place(directory, &counter("h_sum")).unwrap().rivals, []);
    assert_eq!(place(directory, &histogram).unwrap().rivals, [3]);
    assert_eq!(place(directory, &counter("h_count")).unwrap().rivals, [4]);
}
