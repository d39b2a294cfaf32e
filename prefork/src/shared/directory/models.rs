//! Processes that add series at once agree on the place of each.

use super::super::lane::models::Memory;
use super::*;
use crate::sync::{model, thread};

fn entry(name: &str) -> Entry {
    let (help, labels, bounds) = (String::new(), Vec::new(), Vec::new());
    Entry { kind: Kind::Counter, name: name.to_owned(), help, labels, bounds }
}

fn place(directory: Directory<'_>, name: &str) -> (usize, Placement) {
    let found = directory.place(&entry(name), usize::MAX, &|_, _| true).unwrap();
    (found.slot, found.placement)
}

#[test]
fn two_processes_that_add_one_name_get_one_place() {
    static MEMORY: Memory = Memory::new();
    model::check("one name added by two processes", || {
        let directory = MEMORY.region().directory().unwrap();
        let other = thread::spawn(move || place(directory, "a"));
        let own = place(directory, "a");
        assert_eq!(other.join().unwrap(), own);
        assert!(directory.is_used(0) && !directory.is_used(1));
    });
}

#[test]
fn two_processes_that_add_two_names_get_two_places() {
    static MEMORY: Memory = Memory::new();
    model::check("two names added by two processes", || {
        let directory = MEMORY.region().directory().unwrap();
        let other = thread::spawn(move || place(directory, "b"));
        let own = place(directory, "a");
        let other = other.join().unwrap();
        assert!(other.0 != own.0 && other.1.first != own.1.first, "{other:?}, {own:?}");
        assert_eq!((place(directory, "a"), place(directory, "b")), (own, other));
        assert!(!directory.is_used(2));
    });
}

#[test]
fn reader_sees_whole_entries_only() {
    static MEMORY: Memory = Memory::new();
    model::check("an entry read while it is added", || {
        let directory = MEMORY.region().directory().unwrap();
        let writer = thread::spawn(move || place(directory, "a_name_of_two_words"));
        let found = directory.read(0);
        let placed = writer.join().unwrap();
        if let Some((found, placement)) = found {
            assert_eq!((found.name.as_str(), placement), ("a_name_of_two_words", placed.1));
        }
        assert!(directory.read(0).is_some());
    });
}
