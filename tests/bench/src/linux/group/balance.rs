//! How evenly connections are spread over children: Jain's index, 1 for equal shares.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::{Context, turn};
use crate::linux::BenchResult;
use crate::linux::client::Held;
use crate::linux::contender::{Contender, FLOOR, PRELOAD, Running, SPAWNED};
use crate::linux::process::cpu_times;
use crate::linux::report::{Better, Metric, Report, Table, Unit};
use crate::linux::statistics::{Summary, jain};

const CONNECTIONS: usize = 64;
const SEQUENCE: usize = 400;
/// More than two: one child of two that gets all is no worse than half of all cases.
const CHILDREN: usize = 4;
const STEPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(5)];

const fn index(name: &'static str) -> Metric {
    Metric::new(name, Unit::Index, Better::More)
}

const fn cost(name: &'static str) -> Metric {
    Metric::unplotted(name, Unit::Seconds, Better::Less)
}

const METRICS: [Metric; 6] = [
    index("burst: 64 at once"),
    index("ramp: 64, one each 1 ms"),
    index("ramp: 64, one each 5 ms"),
    index("400 one after the other, closed each"),
    cost("first answer in the ramps"),
    cost("server CPU time per connection in the ramps"),
];

pub(super) fn run(context: &Context, report: &mut Report) -> BenchResult<()> {
    let title = format!("Balance: Jain's index of the connections of {CHILDREN} children");
    let mut table = Table::new(title, FLOOR, &METRICS);
    write_notes(&mut table);
    let alike = [SPAWNED, PRELOAD];
    let mut rivals: Vec<(&Contender, Running)> = Vec::new();
    for contender in
        context.contenders.iter().filter(|one| one.abilities.has_workers && !alike.contains(&one.name))
    {
        match start(context, contender) {
            Ok(running) => rivals.push((contender, running)),
            Err(error) => eprintln!("  {}: {error}", contender.name),
        }
    }
    for round in 0..context.rounds(2, 9) {
        table.next_round();
        for (contender, running) in turn(&mut rivals, round) {
            for (metric, figure) in measure(running)?.into_iter().enumerate() {
                table.set(contender.name, metric, figure);
            }
        }
    }
    report.add(table)
}

fn write_notes(table: &mut Table) {
    let least = 1.0 / f64::from(u32::try_from(CHILDREN).unwrap_or(1));
    table.note(format!("1 is an equal share for each child, {least} all connections in one."));
    table.note(
        "The connections of bursts and ramps stay open until the last one is answered: what is uneven there is uneven \
         for as long as connections last. In a burst all are opened before the first request is sent. 64 connections \
         that are spread at random, as with reuseport, have 0.96 on average."
            .to_owned(),
    );
    table.note(
        "An uneven count is not always an uneven load: a shared socket gives a connection to a child that is ready to \
         run. The last two columns are what balance costs when the machine is idle otherwise."
            .to_owned(),
    );
}

fn start(context: &Context, contender: &Contender) -> BenchResult<Running> {
    let mut running = context.start(contender, CHILDREN, false)?;
    running.wait_for_answer()?;
    running.wait_for_workers(CHILDREN, &[])?;
    Ok(running)
}

/// A figure for each metric.
fn measure(running: &Running) -> BenchResult<Vec<f64>> {
    let mut figures = vec![index_of(&at_once(running.addr)?)];
    let processes = running.processes();
    let before = cpu_times(&processes);
    let mut times = Vec::new();
    for step in STEPS {
        figures.push(index_of(&ramp(running.addr, step, &mut times)?));
    }
    let spent = cpu_times(&processes).saturating_sub(before);
    figures.push(index_of(&sequence(running.addr)?));
    let connections = u32::try_from(times.len())?;
    figures.push(Summary::of(times).map_or(0.0, |summary| summary.median));
    figures.push(spent.as_secs_f64() / f64::from(connections));
    Ok(figures)
}

/// The index of the pids that answered. A child without a connection counts.
fn index_of(pids: &[u32]) -> f64 {
    let mut different: Vec<u32> = pids.to_vec();
    different.sort_unstable();
    different.dedup();
    let share = |pid: &u32| pids.iter().filter(|other| *other == pid).map(|_| 1.0).sum::<f64>();
    let mut shares: Vec<f64> = different.iter().map(share).collect();
    shares.resize(CHILDREN.max(shares.len()), 0.0);
    jain(&shares)
}

fn at_once(addr: SocketAddr) -> BenchResult<Vec<u32>> {
    let mut held = (0..CONNECTIONS).map(|_| Held::open(addr)).collect::<Result<Vec<_>, _>>()?;
    held.iter_mut().map(Held::pid).collect()
}

/// Adds the time from the beginning of each connection to its answer to `times`, in seconds.
fn ramp(addr: SocketAddr, step: Duration, times: &mut Vec<f64>) -> BenchResult<Vec<u32>> {
    let mut held = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..CONNECTIONS {
        let start = Instant::now();
        let mut one = Held::open(addr)?;
        pids.push(one.pid()?);
        times.push(start.elapsed().as_secs_f64());
        held.push(one);
        thread::sleep(step);
    }
    Ok(pids)
}

fn sequence(addr: SocketAddr) -> BenchResult<Vec<u32>> {
    (0..SEQUENCE).map(|_| Held::open(addr)?.pid()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_without_a_connection_counts() {
        assert!((index_of(&[7, 7, 7]) - 0.25).abs() < 1e-9);
        assert!((index_of(&[1, 2, 3, 4]) - 1.0).abs() < 1e-9);
    }
}
