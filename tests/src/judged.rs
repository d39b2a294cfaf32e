//! A server whose hook `on_canary` compares what its old and its new children have counted. Two programs are made of
//! it: `canary_server`, and `failing_canary_server`, which fails one request in ten, as a release with a mistake does.
//!
//! The option `judge` says what the hook does: `errors` rolls back if more than one request in twenty fails,
//! `promote` promotes, `panic` panics, `error` fails, `report` prints what it sees; without it there is no hook.

use std::io;
use std::net::TcpListener;
use std::process::{self, ExitCode};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use prefork::shared::{CounterFamily, Histogram};
use prefork::{Canary, CanaryGroup, CanaryVerdict};

use crate::app;

static ANSWERS: CounterFamily<1> = CounterFamily::new("test_answers_total", "Answers", ["status"]);
static SIZES: Histogram = Histogram::with_bounds("test_sizes_bytes", "Sizes of answers", &[10.0]);

/// How often this program fails: once in so many requests.
static FAIL_EVERY: OnceLock<u64> = OnceLock::new();
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The requests that a child answers before it is judged.
const ENOUGH: u64 = 40;

/// The `main` of the program. `/work` is answered with `ok PID`, or with `failed PID`.
pub fn main(fail_every: Option<u64>) -> ExitCode {
    if let Some(every) = fail_every {
        FAIL_EVERY.get_or_init(|| every);
    }
    let fleet = app::builder(serve);
    app::start(match app::option("judge") {
        Some(judge) => fleet.on_canary(move |canary: &Canary| answer(&judge, canary)),
        None => fleet,
    })
}

fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in app::incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || app::answer_or(stream, |_| work()));
    }
    Ok(())
}

fn work() -> String {
    let turn = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let fails = FAIL_EVERY.get().is_some_and(|every| turn % every == every - 1);
    ANSWERS.with([if fails { "500" } else { "200" }]).inc();
    SIZES.observe(5.0);
    format!("{} {}", if fails { "failed" } else { "ok" }, process::id())
}

fn answer(judge: &str, canary: &Canary) -> Result<CanaryVerdict, io::Error> {
    match judge {
        "promote" => return Ok(CanaryVerdict::Promote),
        "panic" => panic!("panic in a hook, as the option says"),
        "error" => return Err(io::Error::other("the option says so")),
        "report" => app::print_error(&describe(canary)),
        _ if canary.new.counter("test_answers_total") < ENOUGH => {}
        _ => {
            app::print_error(&describe(canary));
            let (new, old) = (percent_failed(&canary.new), percent_failed(&canary.old));
            if new > 5 && new > 2 * old {
                return Ok(CanaryVerdict::roll_back(format_args!("{new} % failed, of the old ones {old} %")));
            }
        }
    }
    Ok(CanaryVerdict::Hold)
}

fn failed(group: &CanaryGroup) -> u64 {
    group.counter_with("test_answers_total", &[("status", "500")])
}

fn percent_failed(group: &CanaryGroup) -> u64 {
    100 * failed(group) / group.counter("test_answers_total").max(1)
}

fn describe(canary: &Canary) -> String {
    let group = |group: &CanaryGroup| {
        let answers = group.counter("test_answers_total");
        let sizes = group.histogram("test_sizes_bytes").count();
        format!("{} children, {answers} answers, {} failed, {sizes} sizes", group.children(), failed(group))
    };
    let Canary { generation, held, .. } = canary;
    let (new, old) = (group(&canary.new), group(&canary.old));
    format!("canary of generation {generation} after {} s: new {new}; old {old}", held.as_secs())
}
