//! What a file makes the processes of the fleet do: words such as `boot=exit1 hook=slow`.
//!
//! `boot`: a child before it is ready exits (`exit0`, `exit1`), panics (`panic`), aborts (`abort`) or is slow
//! (`slow`). `hook`: `on_child_spawn` fails (`fail`) or is slow (`slow`). `load`: what is preloaded fails (`fail`), panics
//! (`panic`), exits (`exit`) or is slow (`slow`).

use std::time::Duration;
use std::{fs, process, thread};

use prefork::Prefork;
use prefork_tests::app;

/// How long something slow takes.
const SLOW: Duration = Duration::from_millis(400);

/// The value of a word in the file.
fn word(name: &str) -> Option<String> {
    let text = app::option("behaviour").and_then(|path| fs::read_to_string(path).ok())?;
    let values = text.split_whitespace().filter_map(|word| word.split_once('='));
    let mut values = values.filter(|(key, _)| *key == name);
    values.next().map(|(_, value)| value.to_owned())
}

pub(super) fn at_start_of_child() {
    match word("boot").as_deref() {
        Some("exit0") => process::exit(0),
        Some("exit1") => process::exit(1),
        Some("abort") => process::abort(),
        Some("slow") => thread::sleep(SLOW),
        other => assert_ne!(other, Some("panic"), "a child panics before it is ready, on request"),
    }
}

fn load() -> Result<Vec<u8>, String> {
    match word("load").as_deref() {
        Some("fail") => return Err("failed on request".to_owned()),
        Some("exit") => process::exit(1),
        Some("slow") => thread::sleep(SLOW),
        other => assert_ne!(other, Some("panic"), "what is preloaded panics, on request"),
    }
    Ok(vec![1; 1 << 20])
}

fn on_child_spawn(_pid: u32) -> Result<(), String> {
    match word("hook").as_deref() {
        Some("fail") => return Err("failed on request".to_owned()),
        Some("slow") => thread::sleep(SLOW),
        _ => {}
    }
    Ok(())
}

pub(super) fn with_options(mut fleet: Prefork) -> Prefork {
    fleet = fleet.on_child_spawn(on_child_spawn);
    if app::preloads() {
        fleet = fleet.try_preload(load);
    }
    if let Some(timeout) = app::option("hang_timeout") {
        fleet = fleet.hang_timeout(timeout);
    }
    if let (Some(cert), Some(key)) = (app::option("cert"), app::option("key")) {
        fleet = fleet.cert_files(cert, key);
    }
    fleet
}
