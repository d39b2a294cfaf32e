//! A server that is operated through its `FleetHandle`: by each line of the file that the option
//! `commands` names, which is `stop`, `reload`, `canary N`, `promote`, `rollback`,
//! `resize N` or `status`. The option `early` says how often
//! it is stopped before it starts; with `max_requests` a child retires after so many. `on_master_ready` and the
//! end of the program print the status.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use prefork::{ChildContext, FleetHandle, FleetState};
use prefork_tests::app;

fn main() -> ExitCode {
    let fleet = app::builder(serve);
    let handle = fleet.handle();
    let observer = handle.clone();
    let early = app::option("early").and_then(|times| times.parse().ok()).unwrap_or(0);
    (0..early).for_each(|_| handle.stop());
    if let Some(path) = app::option("commands").filter(|_| !prefork::is_child()) {
        thread::spawn(move || follow(&path, &handle));
    }
    assert_eq!(observer.status().state, FleetState::NotStarted);
    let ready = observer.clone();
    let code = app::start(fleet.on_master_ready(move |_: &[u32]| {
        app::print_error(&format!("status in on_master_ready: {}", ready.status().state));
    }));
    app::print_error(&format!("status at the end: {}", observer.status().state));
    code
}

fn follow(path: &str, handle: &FleetHandle) {
    let mut done = 0;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        // A line that has no end yet is still being written.
        let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
        lines.iter().skip(done).for_each(|line| operate(line.trim(), handle));
        done = lines.len();
        thread::sleep(Duration::from_millis(5));
    }
}

fn operate(command: &str, handle: &FleetHandle) {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("stop", _) => handle.stop(),
        ("reload", _) => handle.reload(),
        ("canary", children) => handle.reload_with_canary(children.parse().unwrap_or(0), None),
        ("promote", _) => handle.promote(),
        ("rollback", _) => handle.rollback(),
        ("resize", workers) => match handle.resize(workers.parse().unwrap_or(0)) {
            Ok(()) => {}
            Err(error) => app::print_error(&format!("resize: {error}")),
        },
        _ => {
            let status = handle.status();
            app::print_error(&format!(
                "status: {} generation {} ready {} of {}, {} children",
                status.state,
                status.generation,
                status.ready,
                status.slots,
                status.children.len()
            ));
        }
    }
}

fn serve(ln: TcpListener, child: ChildContext) -> io::Result<()> {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let max_requests = app::option("max_requests").and_then(|number| number.parse().ok());
    for stream in app::incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || app::answer(stream));
        if Some(REQUESTS.fetch_add(1, Ordering::Relaxed) + 1) == max_requests {
            child.retire();
        }
    }
    Ok(())
}
