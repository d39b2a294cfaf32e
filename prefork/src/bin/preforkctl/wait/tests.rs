use super::*;

/// Of a fleet with two slots, whose children are of these generations.
fn status(state: &str, generation: u64, operation: &str, children: [u64; 2]) -> Status {
    let operation = match operation {
        "" => "null".to_owned(),
        name => {
            format!(r#"{{"name":"{name}","replaced":1,"of":2,"holding":true,"hold_seconds_left":61.0}}"#)
        }
    };
    let [first, second] = children;
    let text = format!(
        r#"{{"state":"{state}","master":1,"generation":{generation},"slots":2,"ready":2,"started_at":50,
        "operation":{operation},"children":[{{"slot":0,"pid":12,"generation":{first},"state":"ready"}},
        {{"slot":1,"pid":7,"generation":{second},"state":"ready"}},
        {{"slot":1,"pid":5,"generation":0,"state":"stopping"}}]}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn watch() -> Watch {
    Watch::new(3, &status("serving", 2, "", [2, 2]))
}

fn event(name: &str, generation: u64, message: &str) -> Event {
    let text = format!(r#"{{"event":"{name}","generation":{generation},"message":"{message}"}}"#);
    Event::of(&text).unwrap()
}

#[test]
fn what_a_new_child_says_of_its_failure_is_a_reason() {
    let mut watch = watch();
    let said = |generation: u32, level: &str| {
        let text = format!(
            r#"{{"level":"{level}","event":"serve_failed","slot":0,"pid":7,"generation":{generation},"from":"child",
            "message":"no such table"}}"#
        );
        Event::of(&text)
    };
    assert!(said(3, "info").is_none());
    assert!(!watch.note(&said(2, "error").unwrap()), "it is about an old child");
    for _ in 0..2 * REASONS_MAX {
        assert!(watch.note(&said(3, "error").unwrap()));
    }
    assert_eq!(watch.reasons, vec!["no such table"; REASONS_MAX]);
    assert_eq!(watch.failure, None);
}

#[test]
fn reload_goes_on_until_every_child_is_new() {
    let watch = watch();
    assert_eq!(watch.turn(&status("holding", 3, "reload", [3, 2])), None);
    assert_eq!(watch.turn(&status("reloading", 3, "promote", [3, 2])), None);
    assert_eq!(watch.turn(&status("serving", 3, "", [3, 2])), None);
    assert_eq!(watch.turn(&status("serving", 3, "", [3, 3])).unwrap().result, "done");
    assert_eq!(watch.turn(&status("serving", 3, "recycle", [3, 3])).unwrap().result, "done");
}

#[test]
fn rollback_is_a_failure_when_the_old_generation_is_restored() {
    let mut watch = watch();
    assert!(watch.note(&event("rolling_back", 3, "rolling back generation 3: requested")));
    assert_eq!(watch.turn(&status("reloading", 2, "rollback", [3, 2])), None);
    let ending = watch.turn(&status("serving", 2, "", [2, 2])).unwrap();
    assert_eq!(ending.result, "aborted");
    assert_eq!(ending.message, "rolling back generation 3: requested; the fleet is of generation 2 again");
    watch.failure = None;
    let ending = watch.turn(&status("serving", 2, "", [2, 2])).unwrap();
    assert_eq!(ending.message, "generation 3 is not complete: the fleet is of generation 2 again");
}

#[test]
fn rollback_that_cannot_restore_a_slot_is_not_waited_for() {
    let mut watch = watch();
    let stuck = event("restore_retried", 2, "child 0 is not rolled back yet");
    assert!(!watch.note(&stuck), "it is about an earlier rollback");
    watch.note(&event("rolling_back", 3, "rolling back"));
    assert!(watch.note(&stuck));
    let ending = watch.turn(&status("reloading", 2, "rollback", [3, 2])).unwrap();
    assert_eq!((ending.result, ending.message.as_str()), ("aborted", "child 0 is not rolled back yet"));
    watch.note(&event("rolled_back", 2, "rolled back"));
    assert_eq!(watch.turn(&status("reloading", 2, "rollback", [3, 2])), None);
}

#[test]
fn later_generation_takes_its_place_unless_this_one_was_complete_before() {
    let mut watch = watch();
    assert_eq!(watch.turn(&status("reloading", 4, "upgrade", [3, 2])), None);
    assert_eq!(watch.turn(&status("reloading", 4, "reload", [3, 2])).unwrap().result, "superseded");
    assert_eq!(watch.turn(&status("serving", 4, "", [4, 4])).unwrap().result, "superseded");
    assert!(!watch.note(&event("reloaded", 4, "reloaded")));
    assert!(!watch.note(&event("reloaded", 3, "reloaded")), "it is said in the end");
    assert_eq!(watch.turn(&status("reloading", 4, "reload", [3, 4])).unwrap().result, "done");
}

#[test]
fn fleet_that_stops_or_is_another_one_has_cancelled_it() {
    let watch = watch();
    for state in ["stop-delay", "stopping"] {
        assert_eq!(watch.turn(&status(state, 2, "stop", [3, 2])).unwrap().result, "cancelled");
    }
    for (master, started_at) in [(2, Some(50.0)), (1, Some(90.0))] {
        let other = Status { master, started_at, ..status("serving", 3, "", [3, 3]) };
        assert_eq!(watch.turn(&other).unwrap().result, "cancelled");
    }
    let mut told = self::watch();
    assert_eq!(told.told(), None);
    assert!(told.note(&event("stopping", 3, "stopping")));
    assert_eq!(told.told().unwrap().result, "cancelled");
    let unknown = Status { started_at: None, ..status("holding", 3, "reload", [3, 2]) };
    assert_eq!(watch.turn(&unknown), None);
}

#[test]
fn progress_has_the_time_that_is_left() {
    let holding = status("holding", 3, "reload", [3, 2]);
    assert_eq!(progress_text(&holding, true), "holding: 1 of 2 children, for 1m 1s");
    assert_eq!(progress_text(&holding, false), "holding: 1 of 2 children");
    assert_eq!(progress_text(&status("serving", 3, "", [3, 2]), true), "serving");
}

#[test]
fn events_that_matter_are_taken() {
    let taken = |line: &str| Event::of(line).map(|event| event.generation);
    assert_eq!(
        taken(r#"{"time":1.5,"level":"info","event":"promoted","generation":3,"message":"m"}"#),
        Some(Some(3))
    );
    assert_eq!(taken(r#"{"event":"restore_retried","slot":1,"message":"m"}"#), Some(None));
    for line in [r#"{"event":"child_ready","message":"m"}"#, "{}", "", "rubbish"] {
        assert_eq!(taken(line), None, "{line}");
    }
}

#[test]
fn event_that_a_child_has_named_decides_nothing() {
    for name in ["reloaded", "stopped"] {
        let line = |from: &str| {
            format!(r#"{{"event":"{name}","slot":0,"pid":12,"generation":3,{from}"message":"m"}}"#)
        };
        assert!(Event::of(&line("")).is_some(), "{name}");
        assert!(Event::of(&line(r#""from":"child","#)).is_none(), "{name}");
        assert!(Event::of(&line(r#""from":7,"#)).is_none(), "{name}");
    }
}

#[test]
fn events_that_come_faster_than_they_are_taken_do_not_delay_the_status() {
    let (sender, events) = mpsc::sync_channel(2 * EVENTS_MAX);
    (0..2 * EVENTS_MAX).for_each(|_| sender.send(event("promoted", 4, "m")).unwrap());
    watch().take(&events, Duration::ZERO, &mut Progress::default(), true);
    assert_eq!(events.try_iter().count(), EVENTS_MAX);
}

#[test]
fn rollback_without_progress_is_not_waited_for() {
    let mut watch = watch();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let rollback = |replaced| {
        let mut status = status("reloading", 2, "rollback", [3, 2]);
        status.operation.as_mut().unwrap().replaced = replaced;
        status
    };
    // A reload that is not taken back may take longer.
    for seconds in [0, 100] {
        assert_eq!(watch.stall(&status("reloading", 3, "reload", [3, 2]), at(seconds)), None);
    }
    for (seconds, replaced) in [(200, 0), (250, 1), (300, 1)] {
        assert_eq!(watch.stall(&rollback(replaced), at(seconds)), None, "{seconds} s");
    }
    let ending = watch.stall(&rollback(1), at(310)).unwrap();
    assert_eq!(ending.message, "the rollback of generation 3 makes no progress");
    watch.note(&event("rolling_back", 3, "rolling back generation 3: requested"));
    let ending = watch.stall(&rollback(1), at(310)).unwrap();
    let message = "rolling back generation 3: requested; the rollback of generation 3 makes no progress";
    assert_eq!((ending.result, ending.message.as_str()), ("aborted", message));
    assert_eq!(watch.stall(&rollback(2), at(311)), None);
}
