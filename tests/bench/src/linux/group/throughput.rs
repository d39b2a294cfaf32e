//! Throughput, latency, and CPU time of the server for each request.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{Context, turn};
use crate::linux::BenchResult;
use crate::linux::client::{Held, Load, Outcome, client_config};
use crate::linux::contender::{Contender, FAIR, FLOOR, PRELOAD, Running, SPAWNED};
use crate::linux::process::cpu_time;
use crate::linux::report::{Better, Metric, Report, Table, Unit};
use crate::linux::statistics::{Summary, jain, quantile};

const CONNECTIONS: usize = 64;
const IDLE: usize = 10_000;
/// How long connections may take for their first answer.
const WARM_UP: Duration = Duration::from_secs(3);

struct Scenario {
    title: &'static str,
    path: &'static str,
    fresh: bool,
    tls: bool,
    idle: usize,
}

const PLAIN: Scenario =
    Scenario { title: "64 kept connections, 1 KB", path: "/1k", fresh: false, tls: false, idle: 0 };

const SCENARIOS: [Scenario; 6] = [
    PLAIN,
    Scenario { title: "a connection for each request, 64 at a time, 1 KB", fresh: true, ..PLAIN },
    Scenario { title: "64 kept connections, 100 KB", path: "/100k", ..PLAIN },
    Scenario { title: "64 kept connections beside 10,000 idle ones, 1 KB", idle: IDLE, ..PLAIN },
    Scenario { title: "TLS, 64 kept connections, 1 KB", tls: true, ..PLAIN },
    Scenario {
        title: "TLS, a connection for each request, 64 at a time, 1 KB",
        tls: true,
        fresh: true,
        ..PLAIN
    },
];

const METRICS: [Metric; 7] = [
    Metric::new("requests per second", Unit::PerSecond, Better::More),
    Metric::new("CPU per request", Unit::Seconds, Better::Less),
    Metric::unplotted("p50", Unit::Seconds, Better::Less),
    Metric::new("p99", Unit::Seconds, Better::Less),
    Metric::unplotted("p99.9", Unit::Seconds, Better::Less),
    Metric::unplotted("lost", Unit::Count, Better::Neither),
    Metric::unplotted("Jain's index of the children's CPU time", Unit::Index, Better::Neither),
];

const LOST: usize = 5;
const INDEX: usize = 6;

/// A contender that runs during all rounds. It costs nothing while others are measured.
struct Rival<'a> {
    contender: &'a Contender,
    running: Running,
    processes: Vec<u32>,
}

struct Measured {
    outcome: Outcome,
    period: Duration,
    /// CPU times, of the server's processes and of this one.
    server: Vec<Duration>,
    client: Duration,
}

impl Rival<'_> {
    fn measure(&self, scenario: &Scenario, period: Duration) -> BenchResult<Measured> {
        let idle = hold_idle(self.running.addr, scenario.idle)?;
        let load = load(scenario, self.running.addr)?;
        let cpu = || -> BenchResult<_> {
            let server: Vec<Duration> = self.processes.iter().map(|pid| cpu_time(*pid)).collect();
            Ok((server, own_cpu()?))
        };
        let (outcome, times) = load.during(|window| -> BenchResult<_> {
            window.warm_up(CONNECTIONS, period / 10, WARM_UP);
            let ((server, client), start) = (cpu()?, Instant::now());
            window.begin();
            thread::sleep(period);
            let ((server_then, client_then), period) = (cpu()?, start.elapsed());
            let spent = server_then.iter().zip(server).map(|(then, before)| then.saturating_sub(before));
            Ok((period, spent.collect(), client_then.saturating_sub(client)))
        })?;
        drop(idle);
        let (period, server, client) = times?;
        Ok(Measured { outcome, period, server, client })
    }
}

pub(super) fn run(context: &Context, report: &mut Report) -> BenchResult<()> {
    for tls in [false, true] {
        let mut rivals = start(context, tls)?;
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.tls == tls) {
            eprintln!("  {}", scenario.title);
            report.add(measure(context, scenario, &mut rivals)?)?;
        }
    }
    Ok(())
}

fn start(context: &Context, tls: bool) -> BenchResult<Vec<Rival<'_>>> {
    // They serve as others do, and differ in their start.
    let alike = [SPAWNED, PRELOAD, FAIR];
    let wanted =
        |contender: &&Contender| !alike.contains(&contender.name) && (!tls || contender.abilities.tls);
    let mut rivals = Vec::new();
    for contender in context.contenders.iter().filter(wanted) {
        match start_one(context, contender, tls) {
            Ok(running) => rivals.push((contender, running)),
            Err(error) => eprintln!("  skipped: {}: {error}", contender.name),
        }
    }
    // Until all of their children serve.
    thread::sleep(Duration::from_secs(1));
    let with_processes = |(contender, running): (_, Running)| {
        let processes = running.processes();
        Rival { contender, running, processes }
    };
    Ok(rivals.into_iter().map(with_processes).collect())
}

fn start_one(context: &Context, contender: &Contender, tls: bool) -> BenchResult<Running> {
    let mut running = context.start_for_many(contender, tls)?;
    // That client knows no TLS: an open port is all that it can see.
    if tls {
        wait_for_port(&running)?
    } else {
        running.wait_for_answer()?
    }
    Ok(running)
}

fn wait_for_port(running: &Running) -> BenchResult<()> {
    for _ in 0..1000 {
        if std::net::TcpStream::connect(running.addr).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err("no listening socket".into())
}

fn measure(context: &Context, scenario: &Scenario, rivals: &mut [Rival<'_>]) -> BenchResult<Table> {
    let period = Duration::from_millis(if context.quick { 100 } else { 600 });
    let mut table = Table::new(format!("Throughput: {}", scenario.title), FLOOR, &METRICS);
    let mut client = Vec::new();
    // Connections are spread anew in each round, which decides more than a longer period does.
    for round in 0..context.rounds(2, 9) {
        table.next_round();
        for rival in turn(rivals, round) {
            if scenario.idle > 0 && !rival.contender.abilities.many_connections {
                continue;
            }
            let name = rival.contender.name;
            match rival.measure(scenario, period) {
                Ok(measured) => {
                    let cost = per_request(measured.client, &measured.outcome);
                    client.extend(cost.filter(|_| name == FLOOR));
                    measured.fill(&mut table, name);
                    if rival.contender.abilities.has_workers {
                        table.set(name, INDEX, measured.index(context.workers));
                    }
                }
                Err(error) => eprintln!("  {name}: {error}"),
            }
        }
    }
    let least = 1.0 / f64::from(u32::try_from(context.workers)?);
    table.note(format!(
        "The index is 1 where all children had the same CPU time, and {least:.2} where one had all: the other cores were \
         left to the client then."
    ));
    if let Some(cost) = Summary::of(client) {
        table.note(format!(
            "The client took {} of CPU time for each request to the floor.",
            Unit::Seconds.show(cost.median)
        ));
    }
    Ok(table)
}

fn load(scenario: &Scenario, addr: SocketAddr) -> BenchResult<Load> {
    let tls = if scenario.tls { Some(client_config()?) } else { None };
    Ok(Load { addr, path: scenario.path, connections: CONNECTIONS, fresh: scenario.fresh, tls })
}

/// Connections that have had an answer each, and wait.
fn hold_idle(addr: SocketAddr, count: usize) -> BenchResult<Vec<Held>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut held = Held::open(addr)?;
        held.send("/1k")?;
        held.receive()?;
        all.push(held);
    }
    Ok(all)
}

impl Measured {
    fn fill(&self, table: &mut Table, name: &str) {
        let outcome = &self.outcome;
        if let Some(error) = &outcome.error {
            eprintln!("  {name}: {} requests lost: {error}", outcome.lost);
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of requests")]
        let (answered, lost) = (outcome.answered() as f64, (outcome.lost + outcome.refused) as f64);
        table.set(name, 0, answered / self.period.as_secs_f64());
        if let Some(cost) = per_request(self.server.iter().sum(), outcome) {
            table.set(name, 1, cost);
            for (metric, part) in [(2, 0.5), (3, 0.99), (4, 0.999)] {
                table.set(name, metric, f64::from(quantile(&outcome.latencies, part)) / 1e9);
            }
        }
        table.set(name, LOST, lost);
    }

    /// How evenly the children were busy: those that had most of the CPU time are taken to be the children.
    fn index(&self, children: usize) -> f64 {
        let mut shares: Vec<f64> = self.server.iter().map(Duration::as_secs_f64).collect();
        shares.sort_by(|left, right| right.total_cmp(left));
        shares.resize(children, 0.0);
        jain(&shares)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of requests")]
fn per_request(time: Duration, outcome: &Outcome) -> Option<f64> {
    (outcome.answered() > 0).then(|| time.as_secs_f64() / outcome.answered() as f64)
}

/// The CPU time of this process, ended threads included.
fn own_cpu() -> BenchResult<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds)?))
}
