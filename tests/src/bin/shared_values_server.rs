//! A server whose children use one value of each kind, and tell what the fleet's values are.
//!
//! `/count` counts the request before it is answered; `/values` returns every value as this child reads it. `/wait`
//! holds the gauge until the gate opens. `/observe/N`, `/record/N`, `/gauge/N`, `/flag/B` use the value of
//! that kind, `/changed/N` that whose bounds are others while the file `TEST_CHANGED` exists, `/limited` and
//! `/client/KEY` the rate limiters. `/label/V` counts in a family of two sets, and returns the total of this one.
//! `/spin` counts in a tight loop until the child is killed.
//! `/scribble` fills the region with random bytes for as long as the child lives (Linux).
//!
//! The master prints the values when logs are reopened, and at its end.

use std::env;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::LazyLock;
use std::thread;

use prefork::shared::{
    Counter, CounterFamily, Flag, Gauge, Histogram, KeyedRateLimiter, Max, Min, RateLimiter,
};
use prefork_tests::app;

static REQUESTS: Counter = Counter::new("test_requests_total", "Requests answered");
static IN_FLIGHT: Gauge = Gauge::new("test_in_flight", "Requests that wait for the gate");
static STARTS: Counter = Counter::new("test_starts_total", "Processes that reached main");
static SIZES: Histogram = Histogram::with_bounds("test_sizes_bytes", "Sizes", &[1.0, 10.0]);
static LARGEST: Max = Max::new("test_largest_bytes", "The largest size");
static SMALLEST: Min = Min::new("test_smallest_bytes", "The smallest size");
static SWITCH: Flag = Flag::new("test_switch", "A switch");
static LIMIT: RateLimiter = RateLimiter::per_second("test_limit", "A limit", 100).burst(10);
static CLIENTS: KeyedRateLimiter =
    KeyedRateLimiter::per_minute("test_clients", "A limit for each key", 6).burst(5);
static LABELLED: CounterFamily<1> =
    CounterFamily::new("test_labelled_total", "Requests by label", ["label"]).limit(2);
static SPINS: Counter = Counter::new("test_spins_total", "Turns of a loop");
static SPIN_SIZES: Histogram =
    Histogram::with_bounds("test_spin_sizes_bytes", "Sizes in a loop", &[1.0, 10.0]);

/// With the file come other bounds, as with another version of the program.
static CHANGED: LazyLock<Histogram> = LazyLock::new(|| {
    let is_changed = env::var_os("TEST_CHANGED").is_some_and(|path| Path::new(&path).exists());
    Histogram::with_bounds("test_changed_bytes", "Sizes", if is_changed { &[5.0] } else { &[2.0] })
});

fn main() -> ExitCode {
    if app::ran_subcommand() {
        return ExitCode::SUCCESS;
    }
    LazyLock::force(&CHANGED);
    // Before the process has joined the fleet.
    STARTS.inc();
    let is_child = prefork::is_child();
    let fleet = app::builder(serve).on_log_reopen(move || {
        if !is_child {
            app::print_error(&values());
        }
        Ok::<(), io::Error>(())
    });
    let code = app::start(fleet);
    app::print_error(&format!("at the end: {}", values()));
    code
}

fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in app::incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || app::answer_or(stream, answer));
    }
    Ok(())
}

fn values() -> String {
    let sizes = SIZES.total();
    let spins = SPIN_SIZES.total();
    format!(
        "requests={} in_flight={} starts={} sizes={}/{} largest={:?} smallest={:?} switch={} spins={}/{}/{}",
        REQUESTS.total(),
        IN_FLIGHT.total(),
        STARTS.total(),
        sizes.count(),
        sizes.sum(),
        LARGEST.get(),
        SMALLEST.get(),
        SWITCH.is_set(),
        SPINS.total(),
        spins.count(),
        spins.sum(),
    )
}

fn answer(path: &str) -> String {
    let (kind, argument) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let number = || argument.parse::<f64>().unwrap_or_default();
    match kind {
        "count" => REQUESTS.inc(),
        "values" => return values(),
        "wait" => {
            let _held = IN_FLIGHT.hold();
            app::wait_at_gate();
        }
        "gauge" => IN_FLIGHT.set(argument.parse().unwrap_or_default()),
        "observe" => SIZES.observe(number()),
        "changed" => CHANGED.observe(number()),
        "record" => {
            LARGEST.record(number());
            SMALLEST.record(number());
        }
        "flag" => SWITCH.set(argument == "true"),
        "label" => {
            let counter = LABELLED.with([argument]);
            counter.inc();
            return counter.total().to_string();
        }
        "limited" => return LIMIT.allow().to_string(),
        "client" => return CLIENTS.allow(&argument).to_string(),
        "spin" => drop(thread::spawn(spin)),
        "scribble" => drop(thread::spawn(scribble)),
        _ => return format!("unknown path: {path}"),
    }
    process::id().to_string()
}

fn spin() {
    loop {
        SPINS.inc();
        SPIN_SIZES.observe(1.0);
    }
}

/// Writes anywhere in the region, where the entries and the first lanes are most of all.
#[cfg(target_os = "linux")]
fn scribble() {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::FileExt;

    /// The part before the lanes, and the lanes of a small fleet.
    const INTERESTING: u64 = 3 << 20;
    let is_region = |path: &std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("prefork-shared"))
    };
    let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let Some(path) = descriptors.map(|entry| entry.path()).find(is_region) else { return };
    let Ok(region) = OpenOptions::new().read(true).write(true).open(path) else { return };
    let mut bytes = [0; 512];
    loop {
        fastrand::fill(&mut bytes);
        // Small numbers are lengths and places that look right.
        if fastrand::bool() {
            bytes.iter_mut().for_each(|byte| *byte &= 3);
        }
        let at =
            if fastrand::u8(..) < 128 { fastrand::u64(..40 << 10) } else { fastrand::u64(..INTERESTING) };
        let _ = region.write_at(&bytes[..fastrand::usize(1..512)], at);
    }
}

#[cfg(not(target_os = "linux"))]
fn scribble() {}
