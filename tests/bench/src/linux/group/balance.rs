//! How evenly connections are spread over children: Jain's index, 1 for equal shares.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::{Context, turn};
use crate::linux::BenchResult;
use crate::linux::client::Held;
use crate::linux::contender::{Contender, FLOOR, PRELOAD, Running, SPAWNED};
use crate::linux::report::{Better, Metric, Report, Table, Unit};
use crate::linux::statistics::jain;

const CONNECTIONS: usize = 64;
const SEQUENCE: usize = 400;
/// More than two: one child of two that gets all is no worse than half of all cases.
const CHILDREN: usize = 4;
const STEP: Duration = Duration::from_millis(5);

const fn index(name: &'static str) -> Metric {
    Metric::new(name, Unit::Index, Better::More)
}

const METRICS: [Metric; 3] =
    [index("64 at once"), index("64, one each 5 ms"), index("400 one after the other, closed each")];

pub(super) fn run(context: &Context, report: &mut Report) -> BenchResult<()> {
    let title = format!("Balance: Jain's index of the connections of {CHILDREN} children");
    let mut table = Table::new(title, FLOOR, &METRICS);
    table.note(format!("1 is an equal share for each child, {} all connections in one.", 1.0 / 4.0));
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
    for round in 0..context.rounds(3, 15) {
        table.next_round();
        for (contender, running) in turn(&mut rivals, round) {
            let figures = [at_once(running.addr)?, ramp(running.addr)?, sequence(running.addr)?];
            for (metric, counts) in figures.iter().enumerate() {
                table.set(contender.name, metric, index_of(counts));
            }
        }
    }
    report.add(table)
}

fn start(context: &Context, contender: &Contender) -> BenchResult<Running> {
    let mut running = context.start(contender, CHILDREN, false)?;
    running.wait_for_answer()?;
    running.wait_for_workers(CHILDREN, &[])?;
    Ok(running)
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

fn ramp(addr: SocketAddr) -> BenchResult<Vec<u32>> {
    let mut held = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut one = Held::open(addr)?;
        pids.push(one.pid()?);
        held.push(one);
        thread::sleep(STEP);
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
