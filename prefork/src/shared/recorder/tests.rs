//! What is counted with the facade's macros, in a process that belongs to no fleet.

use std::sync::Mutex;

use metrics::{counter, describe_counter, gauge, histogram, with_local_recorder};

use super::super::layout::{MAX_HELP, MAX_NAME};
use super::super::snapshot::Value;
use super::names::{label_name, metric_name};
use super::*;
use crate::logging::{self, Logger};
use crate::shared::collect;

/// The value of a series that has these labels: `a=1,b=2`.
fn value(name: &str, labels: &str) -> Option<Value> {
    let samples = collect().samples;
    let found = samples.into_iter().find(|sample| {
        let own: Vec<String> =
            sample.entry.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        sample.entry.name == name && own.join(",") == labels
    });
    found.map(|sample| sample.value)
}

#[test]
fn counters_gauges_and_histograms_are_shared_values() {
    let recorder = Recorder::new().bounds("rec.bytes", &[1.0, 10.0]);
    with_local_recorder(&recorder, || {
        describe_counter!("rec_requests_total", "Requests");
        for _ in 0..3 {
            counter!("rec_requests_total", "method" => "GET").increment(2);
        }
        counter!("rec_absolute_total").absolute(7);
        counter!("rec_absolute_total").absolute(5);
        let pool = gauge!("rec_pool");
        pool.set(2.5);
        pool.increment(1.0);
        pool.decrement(0.25);
        for bytes in [0.5, 5.0, 50.0] {
            histogram!("rec.bytes").record(bytes);
        }
        histogram!("rec_seconds").record(0.003);
    });
    assert_eq!(value("rec_requests_total", "method=GET"), Some(Value::Counter(6)));
    // Other tests of this process may count requests as well.
    assert!(crate::shared::requests()[&std::process::id()] >= 6, "they are its requests");
    assert_eq!(value("rec_absolute_total", ""), Some(Value::Counter(7)));
    assert_eq!(value("rec_pool", ""), Some(Value::Real(3.25)));
    let bytes = Value::Histogram { buckets: vec![1, 1, 1], sum: 55.5 };
    assert_eq!(value("rec_bytes", ""), Some(bytes));
    let Some(Value::Histogram { buckets, .. }) = value("rec_seconds", "") else { panic!("no histogram") };
    assert_eq!(buckets.len(), SECONDS.len() + 1);
    let described = collect().samples.into_iter().find(|sample| sample.entry.name == "rec_requests_total");
    assert_eq!(described.unwrap().entry.help, "Requests");
    // The same value as that of a handle.
    let handle = Counter::new("rec_absolute_total", "");
    handle.inc();
    assert_eq!(value("rec_absolute_total", ""), Some(Value::Counter(8)));
}

#[test]
fn labels_in_another_order_are_the_same_series() {
    let recorder = Recorder::new();
    with_local_recorder(&recorder, || {
        counter!("rec_order_total", "a" => "1", "b" => "2").increment(1);
        counter!("rec_order_total", "b" => "2", "a" => "1").increment(1);
    });
    assert_eq!(value("rec_order_total", "a=1,b=2"), Some(Value::Counter(2)));
}

#[test]
fn sets_of_labels_beyond_the_limit_are_counted_as_other() {
    let recorder = Recorder::new().label_sets(3);
    with_local_recorder(&recorder, || {
        for number in 0..10 {
            for _ in 0..2 {
                counter!("rec_many_total", "number" => number.to_string()).increment(1);
            }
        }
        let long = "x".repeat(700);
        counter!("rec_long_total", "a" => long.clone()).increment(1);
        let many: Vec<(String, String)> = (0..9).map(|label| (format!("l{label}"), "1".to_owned())).collect();
        counter!("rec_wide_total", &many).increment(1);
        let long_names: Vec<(String, String)> =
            (0..8).map(|label| (format!("{label}{}", "x".repeat(120)), "1".to_owned())).collect();
        (0..3).for_each(|_| counter!("rec_long_names_total", &long_names).increment(1));
        counter!("rec_empty_total").increment(1);
        counter!("rec_empty_total", "a" => "").increment(1);
    });
    assert_eq!(value("rec_long_names_total", ""), Some(Value::Counter(3)));
    assert_eq!(value("rec_empty_total", ""), Some(Value::Counter(2)));
    assert_eq!(value("rec_many_total", "number=2"), Some(Value::Counter(2)));
    assert_eq!(value("rec_many_total", "number=3"), None);
    assert_eq!(value("rec_many_total", "number=other"), Some(Value::Counter(14)));
    assert_eq!(value("rec_long_total", "a=other"), Some(Value::Counter(1)));
    assert_eq!(value("rec_wide_total", ""), Some(Value::Counter(1)));
}

#[test]
fn numbers_that_are_not_finite_change_nothing() {
    let recorder = Recorder::new();
    with_local_recorder(&recorder, || {
        let level = gauge!("rec_level");
        level.set(1.0);
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            level.set(number);
            level.increment(number);
            histogram!("rec_level_seconds").record(number);
        }
        level.set(f64::MAX);
        level.increment(f64::MAX);
    });
    assert_eq!(value("rec_level", ""), Some(Value::Real(f64::MAX)));
    let Some(Value::Histogram { buckets, .. }) = value("rec_level_seconds", "") else {
        panic!("no histogram")
    };
    assert_eq!(buckets.iter().sum::<u64>(), 0);
}

#[test]
fn names_are_made_to_fit() {
    for (name, expected) in [
        ("http.requests-total", "http_requests_total"),
        ("a:b", "a:b"),
        ("9lives", "_9lives"),
        ("", "_"),
        ("größe", "gr__e"),
        ("prefork_children", "_prefork_children"),
    ] {
        assert_eq!(metric_name(name), expected);
    }
    for (name, kind, expected) in [
        ("a.b", Kind::Counter, "a_b"),
        ("a:b", Kind::Counter, "a_b"),
        ("__name__", Kind::Counter, "_name__"),
        ("___", Kind::Counter, "_label"),
        ("le", Kind::Counter, "le"),
        ("le", Kind::Histogram, "le_"),
    ] {
        assert_eq!(label_name(name, kind), expected);
    }
    let long = "x".repeat(500);
    assert!(metric_name(&long).len() <= MAX_NAME && label_name(&long, Kind::Counter).len() <= MAX_NAME);
}

#[test]
fn names_without_end_are_bounded() {
    let recorder = Recorder::new();
    with_local_recorder(&recorder, || {
        for number in 0..3 * SERIES {
            gauge!(format!("rec_endless_{number}")).set(1.0);
        }
    });
    assert_eq!(recorder.read().gauges.len(), 2 * SERIES);
    // Other tests of this process have their own names.
    let (values, _) = PROCESS.own_values();
    assert!(values.iter().filter(|(entry, _)| entry.name.starts_with("rec_endless_")).count() < 3 * SERIES);
}

#[test]
#[should_panic(expected = "ascend")]
fn bounds_that_do_not_ascend_are_refused() {
    let _ = Recorder::new().default_bounds(&[2.0, 1.0]);
}

#[test]
fn unit_that_the_name_does_not_tell_is_in_the_help() {
    for (name, unit, expected) in [
        ("latency", Some(Unit::Milliseconds), "Time (milliseconds)"),
        ("latency_milliseconds", Some(Unit::Milliseconds), "Time"),
        ("latency", Some(Unit::Count), "Time"),
        ("latency", None, "Time"),
    ] {
        assert_eq!(help_text(name, unit, "Time"), expected);
    }
    let long = help_text("latency", Some(Unit::Seconds), &"\u{e4}".repeat(400));
    assert!(long.len() <= MAX_HELP && long.ends_with("\u{e4} (seconds)"), "{long}");
}

#[test]
fn threads_that_register_at_once_keep_the_limit_and_lose_nothing() {
    let recorder = Recorder::new().label_sets(10);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                with_local_recorder(&recorder, || {
                    for number in 0..100 {
                        let number = (number % 20).to_string();
                        counter!("rec_threads_total", "number" => number).increment(1);
                    }
                });
            });
        }
    });
    let counted = collect().samples.into_iter().filter(|sample| sample.entry.name == "rec_threads_total");
    let counts: Vec<u64> = counted
        .map(|sample| match sample.value {
            Value::Counter(count) => count,
            other => panic!("{other:?}"),
        })
        .collect();
    // One more for each thread that was registering when the last place was taken.
    assert!(counts.len() <= 11, "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 400);
}

/// Keeps each message.
struct KeepingLog;

static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl log::Log for KeepingLog {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn what_is_beyond_a_limit_is_told_once() {
    PROCESS.use_logger(&Logger::new(KeepingLog));
    let recorder = Recorder::new().label_sets(2);
    with_local_recorder(&recorder, || {
        for number in 0..20 {
            counter!("rec_told_total", "number" => number.to_string()).increment(1);
        }
        for number in 0..3 * SERIES {
            histogram!(format!("rec_told_endless_{number}")).record(1.0);
        }
    });
    logging::flush();
    let told = |text: &str| {
        let expected = |message: &&String| message.contains(text);
        LOGGED.lock().unwrap().iter().filter(expected).count()
    };
    assert_eq!(
        told("further sets of labels of the shared value rec_told_total as `other`: there are 2, its limit"),
        1
    );
    assert_eq!(told("drops the metric rec_told_endless_2048,"), 1);
    assert_eq!(told(" drops the metric rec_told_endless_"), 1);
}
