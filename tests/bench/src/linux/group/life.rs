//! Start, kill of a child, reload, upgrade, stop under load, death of the master.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Context, turn};
use crate::linux::BenchResult;
use crate::linux::client::Load;
use crate::linux::contender::{Contender, FAIR, FLOOR, Running};
use crate::linux::process::{children, is_alive, send, time_until_gone};
use crate::linux::report::{Better, Metric, Report, Table, Unit};

/// Clients that open a connection for each request while something happens.
const CLIENTS: usize = 16;
/// The load before and after.
const AROUND: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);
/// Children that serve on for so long after their master are taken to serve on for ever.
const ORPHANS: Duration = Duration::from_secs(1);

const fn time(name: &'static str) -> Metric {
    Metric::new(name, Unit::Seconds, Better::Less)
}

const fn count(name: &'static str) -> Metric {
    Metric::unplotted(name, Unit::Count, Better::Neither)
}

const STARTS: [Metric; 4] = [
    time("first answer"),
    time("all ready"),
    time("child killed, another ready"),
    time("master killed, all gone"),
];
const CHANGES: [Metric; 4] =
    [time("reload"), count("lost in reloads"), time("upgrade"), count("lost in upgrades")];
const STOPS: [Metric; 3] = [time("stop"), count("lost"), count("requests before")];

struct Tables {
    starts: Table,
    changes: Table,
    stops: Table,
}

pub(super) fn run(context: &Context, report: &mut Report) -> BenchResult<()> {
    let mut tables = Tables {
        starts: Table::new("Life: start and loss of processes".to_owned(), FLOOR, &STARTS),
        changes: Table::new("Life: reload and upgrade under load".to_owned(), FLOOR, &CHANGES),
        stops: Table::new("Life: graceful stop under load".to_owned(), FLOOR, &STOPS),
    };
    write_notes(&mut tables);
    // It starts and ends as the one without a share does.
    let mut contenders: Vec<&Contender> = context.contenders.iter().filter(|one| one.name != FAIR).collect();
    for round in 0..context.rounds(1, 7) {
        for table in [&mut tables.starts, &mut tables.changes, &mut tables.stops] {
            table.next_round();
        }
        for contender in turn(&mut contenders, round) {
            if let Err(error) = measure(context, contender, &mut tables) {
                eprintln!("  {}: {error}", contender.name);
            }
        }
    }
    [tables.starts, tables.changes, tables.stops].into_iter().try_for_each(|table| report.add(table))
}

fn write_notes(tables: &mut Tables) {
    let own = "A child of the program's own servers is ready when it says that it serves; of the others, when a request \
               is answered with its pid, which is seen a fraction of a millisecond later.";
    let never =
        format!("\"never\": children still serve {} s after the death of their master.", ORPHANS.as_secs());
    tables.starts.notes = vec![own.to_owned(), never];
    tables.changes.note(format!(
        "Until every old process has ended. Meanwhile {CLIENTS} clients send requests, each on a connection of its own; \
         lost is what was accepted or queued and not answered, or refused, in one change."
    ));
    tables.stops.note(
        "Until the master has ended. Refused connections are not lost: that is what a stop is.".to_owned(),
    );
}

fn measure(context: &Context, contender: &Contender, tables: &mut Tables) -> BenchResult<()> {
    let workers = if contender.abilities.has_workers { context.workers } else { 1 };
    let name = contender.name;
    let mut running = context.start(contender, context.workers, false)?;
    running.wait_for_answer()?;
    tables.starts.set(name, 0, running.started.elapsed().as_secs_f64());
    let first = running.wait_for_workers(workers, &[])?;
    tables.starts.set(name, 1, running.started.elapsed().as_secs_f64());
    if let Some(signal) = contender.abilities.reload {
        let (time, lost) = change(context, contender, &mut running, &first, signal)?;
        tables.changes.set(name, 0, time);
        tables.changes.set(name, 1, lost);
    }
    if let Some(signal) = contender.abilities.upgrade {
        let serving = serving(&mut running, workers)?;
        let (time, lost) = change(context, contender, &mut running, &serving, signal)?;
        tables.changes.set(name, 2, time);
        tables.changes.set(name, 3, lost);
    }
    if let Some(signal) = contender.abilities.stop {
        stop(&mut running, contender, signal, &mut tables.stops)?;
    }
    drop(running);
    measure_deaths(context, contender, workers, &mut tables.starts)
}

/// The loss of a child and of the master, in a fleet in which nothing has happened yet.
fn measure_deaths(
    context: &Context,
    contender: &Contender,
    workers: usize,
    table: &mut Table,
) -> BenchResult<()> {
    if !contender.abilities.has_workers {
        return Ok(());
    }
    let mut running = context.start(contender, workers, false)?;
    running.wait_for_answer()?;
    let mut serving = running.wait_for_workers(workers, &[])?;
    // Until it is at rest, as a fleet is when a child dies.
    thread::sleep(Duration::from_millis(if context.quick { 200 } else { 1200 }));
    let start = Instant::now();
    send(serving[0], Signal::SIGKILL)?;
    serving.extend(running.wait_for_workers(1, &serving)?);
    table.set(contender.name, 2, start.elapsed().as_secs_f64());
    // Templates are children too.
    serving.extend(children(running.pid()));
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    running.kill_master()?;
    let gone = time_until_gone(&serving, start, ORPHANS);
    table.set(contender.name, 3, gone.map_or(f64::INFINITY, |gone| gone.as_secs_f64()));
    Ok(())
}

/// The processes that serve after a change.
fn serving(running: &mut Running, workers: usize) -> BenchResult<Vec<u32>> {
    match running.output {
        Some(_) => Ok(children(running.pid())),
        None => running.wait_for_workers(workers, &[]),
    }
}

fn load(running: &Running) -> Load {
    Load { addr: running.addr, path: "/1k", connections: CLIENTS, fresh: true, tls: None }
}

/// Replaces all children under load: the time, and the requests that were lost.
fn change(
    context: &Context,
    contender: &Contender,
    running: &mut Running,
    old: &[u32],
    signal: Signal,
) -> BenchResult<(f64, f64)> {
    let around = if context.quick { AROUND / 2 } else { AROUND };
    let (outcome, time) = load(running).during(|_| -> BenchResult<f64> {
        thread::sleep(around);
        let start = Instant::now();
        running.signal(signal)?;
        wait_until_replaced(running, old)?;
        let time = time_until_gone(old, start, PATIENCE).ok_or("an old process does not end")?;
        thread::sleep(around);
        Ok(time.as_secs_f64())
    })?;
    if let Some(error) = &outcome.error {
        eprintln!("  {}: {} lost: {error}", contender.name, outcome.lost);
    }
    Ok((time?, as_figure(outcome.lost + outcome.refused)))
}

fn wait_until_replaced(running: &mut Running, old: &[u32]) -> BenchResult<()> {
    match &mut running.output {
        Some(output) => output.next_after("is of generation ").map(drop),
        None => running.wait_for_workers(old.len(), old).map(drop),
    }
}

fn stop(running: &mut Running, contender: &Contender, signal: Signal, table: &mut Table) -> BenchResult<()> {
    let load = load(running);
    let (outcome, time) = load.during(|_| -> BenchResult<Duration> {
        thread::sleep(AROUND);
        running.signal(signal)?;
        running.wait_for_end(PATIENCE)
    })?;
    let name = contender.name;
    table.set(name, 0, time?.as_secs_f64());
    table.set(name, 1, as_figure(outcome.lost));
    table.set(name, 2, as_figure(outcome.answered() as u64));
    debug_assert!(!is_alive(running.pid()));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a number of requests")]
fn as_figure(count: u64) -> f64 {
    count as f64
}
