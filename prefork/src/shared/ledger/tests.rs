use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use proptest::prelude::*;

use super::super::directory::NEXT_CELL;
use super::super::lane::{Lane, PATIENCE};
use super::super::layout::{COMMON, CONTROL, INDEX_AT};
use super::super::series::Kind;
use super::super::snapshot::Value;
use super::*;

fn open() -> Ledger {
    Ledger::new(Arc::new(Region::create().unwrap()))
}

fn entry(kind: Kind, name: &str) -> Entry {
    let bounds = if kind == Kind::Histogram { vec![1.0, 2.0] } else { Vec::new() };
    Entry { kind, name: name.to_owned(), help: "help".to_owned(), labels: Vec::new(), bounds }
}

/// A child of the fleet: its lane, in this process.
fn child(ledger: &Ledger) -> (usize, Lane) {
    let number = ledger.lease().unwrap();
    (number, Lane::new(ledger.region(), number).unwrap())
}

fn cells(lane: &mut Lane, entry: &Entry) -> &'static [AtomicU64] {
    lane.place(entry, usize::MAX).ok().unwrap().cells
}

fn add(lane: &mut Lane, entry: &Entry, value: u64) {
    cells(lane, entry)[0].fetch_add(value, Ordering::Relaxed);
}

fn value(ledger: &Ledger, name: &str) -> Value {
    let samples = ledger.collect().samples;
    samples.into_iter().find(|sample| sample.entry.name == name).unwrap().value
}

#[test]
fn what_an_ended_child_has_counted_stays_and_what_it_held_goes() {
    let ledger = open();
    let [counter, gauge, max] =
        [(Kind::Counter, "c"), (Kind::Gauge, "g"), (Kind::Max, "m")].map(|(kind, name)| entry(kind, name));
    let (_, mut one) = child(&ledger);
    for time in 1..=3 {
        let (number, mut other) = child(&ledger);
        assert_eq!(number, 2, "the least free lane");
        for (lane, value) in [(&mut one, 1), (&mut other, 10)] {
            add(lane, &counter, value);
            add(lane, &gauge, value);
            cells(lane, &max)[0].fetch_max(value, Ordering::Relaxed);
        }
        assert_eq!(value(&ledger, "c"), Value::Counter(11 * time));
        assert_eq!(ledger.total(&gauge), Some(vec![10 + time]));
        ledger.release(number).unwrap();
        assert_eq!(value(&ledger, "c"), Value::Counter(11 * time));
        assert_eq!(value(&ledger, "g"), Value::Gauge(i64::try_from(time).unwrap()));
        assert_eq!(ledger.total(&max), Some(vec![10]));
        assert_eq!(one.total(&counter), Some(vec![11 * time]), "as the other child reads it");
        assert_eq!(one.total(&max), Some(vec![10]));
    }
}

#[test]
fn histogram_of_ended_and_live_children_is_one() {
    let ledger = open();
    let histogram = entry(Kind::Histogram, "h");
    let bits = |value: f64| value.to_bits();
    let (_, mut one) = child(&ledger);
    for _ in 0..2 {
        let (number, mut other) = child(&ledger);
        for (cell, value) in cells(&mut other, &histogram).iter().zip([1, 2, 0, bits(9.0), bits(4.5)]) {
            cell.store(value, Ordering::Relaxed);
        }
        ledger.release(number).unwrap();
    }
    for (cell, value) in cells(&mut one, &histogram).iter().zip([0, 1, 1, bits(5.5), bits(1.0)]) {
        cell.store(value, Ordering::Relaxed);
    }
    let expected = vec![2, 5, 1, bits(14.5), bits(14.5)];
    assert_eq!(value(&ledger, "h"), Value::Histogram { buckets: vec![2, 5, 1], sum: 14.5 });
    assert_eq!(ledger.total(&histogram).as_ref(), Some(&expected));
    assert_eq!(one.total(&histogram), Some(expected));
}

#[test]
fn flag_is_read_and_rate_limiter_is_not_shown() {
    let ledger = open();
    let (number, mut lane) = child(&ledger);
    cells(&mut lane, &entry(Kind::Flag, "f"))[0].store(2, Ordering::Relaxed);
    cells(&mut lane, &entry(Kind::RateLimiter, "r"))[0].store(4711, Ordering::Relaxed);
    ledger.release(number).unwrap();
    assert_eq!(value(&ledger, "f"), Value::Flag(true));
    assert_eq!(ledger.collect().samples.len(), 1);
}

#[test]
fn cells_without_a_series_are_zero_for_the_next_child() {
    let ledger = open();
    let (number, mut lane) = child(&ledger);
    add(&mut lane, &entry(Kind::Counter, "c"), 1);
    let cells = ledger.region().own_lane(number).unwrap();
    cells.iter().for_each(|cell| cell.store(7, Ordering::Relaxed));
    ledger.release(number).unwrap();
    assert_eq!(child(&ledger).0, number);
    assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == 0));
    assert_eq!(ledger.collect().unplaced, 0);
}

#[test]
fn totals_pass_to_the_next_program_with_its_region_or_with_a_new_one() {
    let ledger = open();
    let counter = entry(Kind::Counter, "c");
    let (number, mut lane) = child(&ledger);
    add(&mut lane, &counter, 5);
    ledger.release(number).unwrap();
    let (live, mut lane) = child(&ledger);
    add(&mut lane, &counter, 3);
    let owned = |(entry, total): (Arc<Entry>, Vec<u64>)| ((*entry).clone(), total);
    let totals: Vec<(Entry, Vec<u64>)> = ledger.totals().into_iter().map(owned).collect();
    let same = Ledger::new(ledger.region());
    same.note_lease(live);
    same.inherit(totals.clone());
    assert_eq!(value(&same, "c"), Value::Counter(8));
    let new = open();
    new.inherit(totals);
    assert_eq!(value(&new, "c"), Value::Counter(5));
    let (_, mut lane) = child(&new);
    assert_eq!(lane.total(&counter), Some(vec![5]));
}

#[test]
fn reader_sees_no_value_twice_or_not_at_all_while_children_come_and_go() {
    let ledger = open();
    let counter = entry(Kind::Counter, "c");
    let (_, mut reader) = child(&ledger);
    add(&mut reader, &counter, 1);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                let (number, mut lane) = child(&ledger);
                add(&mut lane, &counter, 1);
                ledger.release(number).unwrap();
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let mut last = 1;
        while !is_over.load(Ordering::SeqCst) {
            let start = Instant::now();
            let total = reader.total(&counter).unwrap()[0];
            // A reader that waits for a master without CPU gives up.
            if start.elapsed() < PATIENCE {
                assert!((last..=last + 300).contains(&total) && total <= 301, "{last} {total}");
                last = total;
            }
        }
    });
    assert_eq!(reader.total(&counter), Some(vec![301]));
    assert_eq!(value(&ledger, "c"), Value::Counter(301));
}

#[test]
fn directory_that_a_child_has_filled_with_rubbish_is_there_again_for_the_next() {
    let ledger = open();
    let (number, mut lane) = child(&ledger);
    let limiter = entry(Kind::KeyedRateLimiter, "k");
    let names = ["a", "b", "c"].map(|name| entry(Kind::Counter, name));
    names.iter().for_each(|entry| add(&mut lane, entry, 1));
    let keys = cells(&mut lane, &limiter);
    ledger.release(number).unwrap();
    let words = ledger.region().memory().map(0, COMMON * 8, MemoryAccess::Write).unwrap();
    for rubbish in [0, 1, u64::MAX, 0x5555_5555_5555_5555] {
        // The last one to end is taken for the one that may have been adding a series.
        for _ in 0..2 {
            let (number, _) = child(&ledger);
            words.iter().for_each(|word| word.store(rubbish, Ordering::Relaxed));
            ledger.release(number).unwrap();
        }
        let (number, mut lane) = child(&ledger);
        names.iter().for_each(|entry| add(&mut lane, entry, 1));
        cells(&mut lane, &limiter)[0].fetch_add(1, Ordering::Relaxed);
        ledger.release(number).unwrap();
    }
    assert_eq!(keys[0].load(Ordering::Relaxed), 4, "the same table");
    let totals = names.map(|entry| ledger.total(&entry));
    assert_eq!(totals, [Some(vec![5]), Some(vec![5]), Some(vec![5])]);
}

#[test]
fn entries_for_cells_of_another_series_are_no_series() {
    let ledger = open();
    let (_, mut lane) = child(&ledger);
    add(&mut lane, &entry(Kind::Counter, "c"), 3);
    let region = ledger.region();
    let directory = region.directory().unwrap();
    let (_, placement) = directory.read(0).unwrap();
    for slot in 1..SERIES {
        let name = format!("n{slot}");
        directory.restore(slot, &entry(Kind::Counter, &name), placement);
    }
    let samples = ledger.collect().samples;
    assert_eq!(samples.iter().map(|sample| sample.entry.name.as_str()).collect::<Vec<_>>(), ["c"]);
    assert_eq!(samples[0].value, Value::Counter(3));
}

#[test]
fn lanes_that_were_passed_are_in_use_and_those_between_are_free() {
    let ledger = open();
    [5, 2, 5, LANES].iter().for_each(|lane| ledger.note_lease(*lane));
    let next: Vec<usize> = (0..5).filter_map(|_| ledger.lease()).collect();
    assert_eq!(next, [1, 3, 4, 6, 7]);
}

#[test]
fn lanes_run_out_and_come_back() {
    let ledger = open();
    let all: Vec<usize> = std::iter::from_fn(|| ledger.lease()).collect();
    assert_eq!(all.len(), LANES - 1);
    ledger.release(17).unwrap();
    ledger.release(17).unwrap();
    assert_eq!((ledger.lease(), ledger.lease()), (Some(17), None));
}

#[test]
fn help_is_that_of_the_last_process_that_has_one() {
    let ledger = open();
    let with = |help: &str, label: &str| Entry {
        help: help.to_owned(),
        labels: vec![("label".to_owned(), label.to_owned())],
        ..entry(Kind::Counter, "c")
    };
    let helps = || -> Vec<String> {
        ledger.collect().samples.into_iter().map(|sample| sample.entry.help.clone()).collect()
    };
    let long = "x".repeat(512);
    let (_, mut lane) = child(&ledger);
    add(&mut lane, &with("", "1"), 1);
    assert_eq!(helps(), [""]);
    for help in ["first", "", &long, "first", "\u{e4}\n"] {
        add(&mut lane, &with(help, "1"), 1);
        if !help.is_empty() {
            assert_eq!(helps(), [help]);
        }
    }
    add(&mut lane, &with("before", "2"), 1);
    add(&mut lane, &with("after", "1"), 1);
    assert_eq!(helps(), ["after", "after"], "one for the family");
    // Half of another help is none.
    let words = ledger.region().memory().map(0, COMMON * 8, MemoryAccess::Write).unwrap();
    let help = words.iter().rposition(|word| word.load(Ordering::Relaxed).to_le_bytes() == *b"after\0\0\0");
    words[help.unwrap()].store(0, Ordering::Relaxed);
    assert_eq!(helps(), ["after", "after"]);
    let totals = ledger.totals();
    assert!(totals.iter().all(|(entry, _)| entry.help == "after"));
}

/// What is shown of the name `h`: the bounds, and how often anything was observed.
fn shown(ledger: &Ledger) -> (Vec<f64>, u64) {
    let samples = ledger.collect().samples;
    assert_eq!(samples.len(), 1);
    let Value::Histogram { buckets, .. } = &samples[0].value else { panic!("{samples:?}") };
    (samples[0].entry.bounds.clone(), buckets.iter().sum())
}

#[test]
fn family_that_is_used_again_after_a_rollback_is_shown_and_not_that_of_a_failed_reload() {
    let ledger = open();
    let [old, new] = [2.0, 5.0].map(|bound| Entry { bounds: vec![bound], ..entry(Kind::Histogram, "h") });
    let start = |entry: &Entry| {
        let (number, mut lane) = child(&ledger);
        add(&mut lane, entry, 1);
        number
    };
    let first = [start(&old), start(&old)];
    let failed = start(&new);
    assert_eq!(shown(&ledger), (vec![2.0], 2), "while a new child is tried");
    ledger.release(failed).unwrap();
    assert_eq!(shown(&ledger), (vec![2.0], 2), "after it has failed");
    let second = [start(&new), start(&new)];
    first.into_iter().for_each(|number| ledger.release(number).unwrap());
    assert_eq!(shown(&ledger), (vec![5.0], 3));
    let third = [start(&old), start(&old)];
    second.into_iter().for_each(|number| ledger.release(number).unwrap());
    assert_eq!(shown(&ledger), (vec![2.0], 4), "after the rollback");
    third.into_iter().for_each(|number| ledger.release(number).unwrap());
    assert_eq!(shown(&ledger), (vec![2.0], 4), "the last that was used");
    // The next program, before any child has used the value.
    let next = Ledger::new(ledger.region());
    next.inherit(ledger.totals().into_iter().map(|(entry, total)| ((*entry).clone(), total)).collect());
    assert_eq!(shown(&next), (vec![2.0], 4));
}

#[test]
fn later_series_have_cells_of_their_own_after_a_child_has_emptied_a_slot() {
    let ledger = open();
    let (number, mut lane) = child(&ledger);
    ["a", "b"].iter().for_each(|name| add(&mut lane, &entry(Kind::Counter, name), 1));
    let words = ledger.region().memory().map(0, COMMON * 8, MemoryAccess::Write).unwrap();
    // The identity in the slot of `a`, and the next free cell.
    words[INDEX_AT].store(0, Ordering::Relaxed);
    words[NEXT_CELL].store(u64::MAX, Ordering::Relaxed);
    ledger.release(number).unwrap();
    let (_, mut lane) = child(&ledger);
    ["c", "d"].iter().for_each(|name| add(&mut lane, &entry(Kind::Counter, name), 1));
    ["b", "c", "d"].iter().for_each(|name| assert_eq!(value(&ledger, name), Value::Counter(1), "{name}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]
    #[test]
    fn random_words_anywhere_harm_no_total_that_was_taken(
        noise in prop::collection::vec((0..COMMON, any::<u64>()), 1..100),
        low in prop::collection::vec((0..COMMON, 0..300_u64), 1..100),
        index in prop::collection::vec((CONTROL..CONTROL + 64, any::<u64>()), 1..50),
        cell in any::<u64>(),
    ) {
        let ledger = open();
        let (counter, histogram) = (entry(Kind::Counter, "c"), entry(Kind::Histogram, "h"));
        let (number, mut lane) = child(&ledger);
        add(&mut lane, &counter, 5);
        ledger.release(number).unwrap();
        let (number, mut lane) = child(&ledger);
        cells(&mut lane, &histogram).iter().for_each(|place| place.store(cell, Ordering::Relaxed));
        let words = ledger.region().memory().map(0, COMMON * 8, MemoryAccess::Write).unwrap();
        for (place, word) in noise.into_iter().chain(low).chain(index) {
            words[place].store(word, Ordering::Relaxed);
        }
        ledger.collect();
        let _ = (lane.total(&counter), lane.place(&histogram, usize::MAX), lane.place(&counter, 1));
        ledger.release(number).unwrap();
        prop_assert_eq!(value(&ledger, "c"), Value::Counter(5));
        prop_assert!(ledger.totals().iter().any(|(known, total)| **known == counter && *total == [5]));
        prop_assert_eq!(ledger.lease(), Some(number));
        // A later child finds everything, and there is room.
        ledger.release(number).unwrap();
        let (_, mut lane) = child(&ledger);
        add(&mut lane, &counter, 1);
        prop_assert_eq!(ledger.total(&counter), Some(vec![6]));
        add(&mut lane, &entry(Kind::Counter, "d"), 1);
        prop_assert_eq!(value(&ledger, "d"), Value::Counter(1));
    }
}

fn labelled(name: &str, label: &str) -> Entry {
    Entry { labels: vec![("a".to_owned(), label.to_owned())], ..entry(Kind::Counter, name) }
}

#[test]
fn requests_of_a_child_are_the_sum_of_its_counters_with_such_a_name() {
    let ledger = open();
    let (first, mut one) = child(&ledger);
    let (second, mut other) = child(&ledger);
    ledger.note_pid(first, 101);
    ledger.note_pid(second, 102);
    for (kind, name) in [
        (Kind::Counter, "app_requests"),
        (Kind::Counter, "requests_total_seconds"),
        (Kind::Counter, "prequests_total"),
        (Kind::Gauge, "app_requests_total"),
    ] {
        add(&mut one, &entry(kind, name), 1000);
    }
    assert!(ledger.requests().is_empty(), "no counter has such a name");
    add(&mut one, &entry(Kind::Counter, "requests_total"), 1);
    add(&mut one, &labelled("app_requests_total", "1"), 10);
    add(&mut one, &labelled("app_requests_total", "2"), 100);
    add(&mut other, &labelled("app_requests_total", "2"), 7);
    assert_eq!(ledger.requests(), BTreeMap::from([(101, 111), (102, 7)]));
    ledger.release(first).unwrap();
    assert_eq!(ledger.requests(), BTreeMap::from([(102, 7)]));
    let (again, _lane) = child(&ledger);
    assert_eq!(again, first);
    assert_eq!(ledger.requests(), BTreeMap::from([(102, 7)]), "the lane's next process is not known yet");
    ledger.note_pid(again, 103);
    assert_eq!(
        ledger.requests(),
        BTreeMap::from([(102, 7), (103, 0)]),
        "what the last one counted is not its own"
    );
    ledger.note_pid(LANES, 104);
    ledger.note_pid(second + 1, 105);
    assert_eq!(ledger.requests().len(), 2, "no child has these lanes");
}

#[test]
fn requests_that_a_hostile_child_writes_do_not_overflow() {
    let ledger = open();
    let (number, mut lane) = child(&ledger);
    ledger.note_pid(number, 101);
    for label in ["1", "2"] {
        cells(&mut lane, &labelled("app_requests_total", label))[0].store(u64::MAX, Ordering::Relaxed);
    }
    assert_eq!(ledger.requests(), BTreeMap::from([(101, u64::MAX)]));
}
