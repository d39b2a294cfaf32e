//! Start, recovery, reload, stop and rest of few and of many children.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Context, turn};
use crate::linux::BenchResult;
use crate::linux::contender::{Contender, PRELOAD, REUSEPORT, Running, SHARED, SPAWNED};
use crate::linux::process::{cpu_time, is_alive, memory, send, time_until_gone, wake_ups};
use crate::linux::report::{Better, Metric, Report, Table, Unit};

const PATIENCE: Duration = Duration::from_secs(120);
const START: usize = 0;
const START_CPU: usize = 1;
const RECOVERY: usize = 2;
const RECOVERY_CPU: usize = 3;
const RELOAD: usize = 4;
const RELOAD_CPU: usize = 5;
const STOP: usize = 6;
const WAKE_UPS: usize = 0;
const MASTER_WAKE_UPS: usize = 1;
const PROPORTIONAL: usize = 2;
const PRIVATE: usize = 3;

const fn time(name: &'static str, plotted: bool) -> Metric {
    Metric { name, unit: Unit::Seconds, better: Better::Less, plotted }
}

const TIMES: [Metric; 7] = [
    time("start, per child", true),
    time("master's CPU", false),
    time("recovery of one", true),
    time("master's CPU", false),
    time("reload, per child", false),
    time("master's CPU, per child", false),
    time("stop, per child", false),
];

const REST: [Metric; 4] = [
    Metric { name: "wake-ups", unit: Unit::Count, better: Better::Neither, plotted: false },
    Metric { name: "of the master", unit: Unit::Count, better: Better::Neither, plotted: false },
    Metric {
        name: "proportional memory, per child",
        unit: Unit::Bytes,
        better: Better::Less,
        plotted: false,
    },
    Metric { name: "private memory, per child", unit: Unit::Bytes, better: Better::Less, plotted: false },
];

pub(super) fn run(context: &Context, report: &mut Report) -> BenchResult<()> {
    let default: &[usize] = if context.quick { &[2, 16, 128] } else { &[2, 16, 128, 1000] };
    let sizes = if context.children.is_empty() { default } else { &context.children };
    for children in sizes {
        eprintln!("  {children} children");
        measure_size(context, *children)?.into_iter().try_for_each(|table| report.add(table))?;
    }
    Ok(())
}

fn measure_size(context: &Context, count: usize) -> BenchResult<[Table; 2]> {
    let rest = rest_period(context);
    let mut times = Table::new(format!("Scale: {count} children"), SPAWNED, &TIMES);
    let mut idle = Table::new(format!("At rest: {count} children, {} s", rest.as_secs()), SPAWNED, &REST);
    times.note(
        "CPU times of the master are those of the column before. A reload ends with the last old child."
            .to_owned(),
    );
    idle.note(
        "Master, children and templates together; memory divided by the number of children.".to_owned(),
    );
    let is_meant = |contender: &&Contender| {
        [SPAWNED, SHARED, REUSEPORT, PRELOAD, "nginx, reuseport"].contains(&contender.name)
    };
    let mut contenders: Vec<&Contender> = context.contenders.iter().filter(is_meant).collect();
    let rounds = if count > 500 { context.rounds(1, 3) } else { context.rounds(1, 7) };
    for round in 0..rounds {
        times.next_round();
        idle.next_round();
        for contender in turn(&mut contenders, round) {
            if let Err(error) = measure(context, contender, count, &mut times, &mut idle) {
                eprintln!("  {}: {error}", contender.name);
            }
        }
    }
    Ok([times, idle])
}

fn rest_period(context: &Context) -> Duration {
    Duration::from_secs(if context.quick { 1 } else { 10 })
}

/// A fleet of a contender.
struct Fleet<'a> {
    contender: &'a Contender,
    running: Running,
    count: usize,
}

fn measure(
    context: &Context,
    contender: &Contender,
    count: usize,
    times: &mut Table,
    idle: &mut Table,
) -> BenchResult<()> {
    let name = contender.name;
    #[expect(clippy::cast_precision_loss, reason = "a number of children")]
    let per_child = |time: Duration| time.as_secs_f64() / count as f64;
    let running = context.start(contender, count, false)?;
    let mut fleet = Fleet { contender, running, count };
    let mut serving = fleet.wait_for(count, &[])?;
    times.set(name, START, per_child(fleet.running.started.elapsed()));
    times.set(name, START_CPU, per_child(cpu_time(fleet.running.pid())));
    // A second after its start each child looks once at what it may have been left with.
    thread::sleep(Duration::from_millis(1500));
    fleet.measure_rest(rest_period(context), idle);

    let (time, cpu) = fleet.timed(|fleet| {
        send(serving[0], Signal::SIGKILL)?;
        let replacement = fleet.wait_for(1, &serving)?;
        serving.splice(0..1, replacement);
        Ok(())
    })?;
    times.set(name, RECOVERY, time.as_secs_f64());
    times.set(name, RECOVERY_CPU, cpu.as_secs_f64());
    if let Some(signal) = contender.abilities.reload {
        let (time, cpu) = fleet.timed(|fleet| fleet.reload(signal, &serving))?;
        times.set(name, RELOAD, per_child(time));
        times.set(name, RELOAD_CPU, per_child(cpu));
    }
    if let Some(signal) = contender.abilities.stop {
        let start = Instant::now();
        fleet.running.signal(signal)?;
        fleet.running.wait_for_end(PATIENCE)?;
        times.set(name, STOP, per_child(start.elapsed()));
    }
    Ok(())
}

impl Fleet<'_> {
    /// The time of something, and the CPU time of the master for it.
    fn timed(
        &mut self,
        what: impl FnOnce(&mut Self) -> BenchResult<()>,
    ) -> BenchResult<(Duration, Duration)> {
        let (start, before) = (Instant::now(), cpu_time(self.running.pid()));
        what(self)?;
        let time = start.elapsed();
        Ok((time, cpu_time(self.running.pid()).saturating_sub(before)))
    }

    /// Waits for `count` children that are none of `others`.
    fn wait_for(&mut self, count: usize, others: &[u32]) -> BenchResult<Vec<u32>> {
        if self.contender.abilities.tells {
            self.running.wait_for_workers(count, others)
        } else {
            // Many children cannot be asked: they are ready when they exist.
            self.running.wait_for_children(count, others)
        }
    }

    fn reload(&mut self, signal: Signal, old: &[u32]) -> BenchResult<()> {
        self.running.signal(signal)?;
        match &mut self.running.output {
            Some(output) => drop(output.next_after("is of generation ")?),
            None => drop(self.running.wait_for_children(self.count, old)?),
        }
        time_until_gone(old, Instant::now(), PATIENCE).ok_or("an old child does not end")?;
        Ok(())
    }

    fn measure_rest(&self, period: Duration, table: &mut Table) {
        let (all, master) = (self.running.processes(), [self.running.pid()]);
        let (before, before_master) = (wake_ups(&all), wake_ups(&master));
        thread::sleep(period);
        let name = self.contender.name;
        let (proportional, private) = memory(&all);
        #[expect(clippy::cast_precision_loss, reason = "numbers of bytes and wake-ups")]
        let mut set = |metric, value: u64, parts: usize| table.set(name, metric, value as f64 / parts as f64);
        set(WAKE_UPS, wake_ups(&all).saturating_sub(before), 1);
        set(MASTER_WAKE_UPS, wake_ups(&master).saturating_sub(before_master), 1);
        set(PROPORTIONAL, proportional, self.count);
        set(PRIVATE, private, self.count);
        debug_assert!(all.iter().all(|pid| is_alive(*pid)));
    }
}
