//! Start, recovery, reload, stop and rest of few and of many children.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Context, turn};
use crate::linux::BenchResult;
use crate::linux::contender::{Contender, PRELOAD, REUSEPORT, Running, SHARED, SPAWNED};
use crate::linux::process::{cpu_time, memory, send, time_until_gone, wake_ups};
use crate::linux::report::{Better, Report, Table, Unit};

const PATIENCE: Duration = Duration::from_secs(60);

/// What has a table of its own, with a column for each number of children.
#[derive(Clone, Copy)]
enum Of {
    Start,
    StartCpu,
    Recovery,
    RecoveryCpu,
    Reload,
    ReloadCpu,
    Stop,
    WakeUps,
    Proportional,
    Private,
}

const TITLES: [(&str, Unit, Better); 10] = [
    ("start, per child", Unit::Seconds, Better::Less),
    ("CPU time of the master for the start, per child", Unit::Seconds, Better::Less),
    ("a killed child, until another is ready", Unit::Seconds, Better::Less),
    ("CPU time of the master for a killed child", Unit::Seconds, Better::Less),
    ("reload, per child", Unit::Seconds, Better::Less),
    ("CPU time of the master for a reload, per child", Unit::Seconds, Better::Less),
    ("stop, per child", Unit::Seconds, Better::Less),
    ("wake-ups of all processes at rest", Unit::Count, Better::Neither),
    ("proportional memory at rest, per child", Unit::Bytes, Better::Less),
    ("private memory at rest, per child", Unit::Bytes, Better::Less),
];

pub(super) fn run(context: &Context, report: &mut Report) -> BenchResult<()> {
    let default: &[usize] = if context.quick { &[2, 16, 128] } else { &[2, 16, 128, 1000] };
    let sizes = if context.children.is_empty() { default } else { &context.children };
    let rest = Duration::from_secs(if context.quick { 1 } else { 3 });
    let mut tables = Tables::new(sizes, rest);
    let is_meant = |contender: &&Contender| {
        [SPAWNED, SHARED, REUSEPORT, PRELOAD, "nginx, reuseport"].contains(&contender.name)
    };
    let mut contenders: Vec<&Contender> = context.contenders.iter().filter(is_meant).collect();
    for (column, count) in sizes.iter().enumerate() {
        eprintln!("  {count} children");
        let rounds = if *count > 500 { context.rounds(1, 3) } else { context.rounds(1, 5) };
        for round in 0..rounds {
            tables.all.iter_mut().for_each(Table::next_round);
            for contender in turn(&mut contenders, round) {
                tables.place = (column, *count);
                if let Err(error) = measure(context, contender, &mut tables) {
                    eprintln!("  {}: {error}", contender.name);
                }
            }
        }
    }
    tables.all.into_iter().try_for_each(|table| report.add(table))
}

struct Tables {
    all: Vec<Table>,
    /// The column, and its number of children.
    place: (usize, usize),
    rest: Duration,
}

impl Tables {
    fn new(sizes: &[usize], rest: Duration) -> Self {
        let table = |(title, unit, better): &(&str, Unit, Better)| {
            Table::of_sizes(&format!("Scale: {title}"), SPAWNED, sizes, *unit, *better)
        };
        let mut all: Vec<Table> = TITLES.iter().map(table).collect();
        all[Of::Reload as usize].note("It ends with the last old child.".to_owned());
        all[Of::Start as usize].note("nginx is ready when its processes exist: they do not tell.".to_owned());
        all[Of::WakeUps as usize].note(format!(
            "In {} s. A process that does not wake calls no system call and takes no CPU time.",
            rest.as_secs()
        ));
        all[Of::Proportional as usize].note("Master and templates included.".to_owned());
        Self { all, place: (0, 0), rest }
    }

    fn set(&mut self, name: &str, of: Of, value: f64) {
        self.all[of as usize].set(name, self.place.0, value);
    }

    fn set_per_child(&mut self, name: &str, of: Of, time: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a number of children")]
        let children = self.place.1 as f64;
        self.set(name, of, time.as_secs_f64() / children);
    }
}

/// A fleet of a contender.
struct Fleet<'a> {
    contender: &'a Contender,
    running: Running,
    count: usize,
}

fn measure(context: &Context, contender: &Contender, tables: &mut Tables) -> BenchResult<()> {
    let (name, count) = (contender.name, tables.place.1);
    let running = context.start(contender, count, false)?;
    let mut fleet = Fleet { contender, running, count };
    let mut serving = fleet.wait_for(count, &[])?;
    tables.set_per_child(name, Of::Start, fleet.running.started.elapsed());
    tables.set_per_child(name, Of::StartCpu, cpu_time(fleet.running.pid()));
    // First, because what has been looked up below /proc of a process makes its end slower, and the end of others.
    let (time, cpu) = fleet.timed(|fleet| {
        send(serving[0], Signal::SIGKILL)?;
        let replacement = fleet.wait_for(1, &serving)?;
        serving.splice(0..1, replacement);
        Ok(())
    })?;
    tables.set(name, Of::Recovery, time.as_secs_f64());
    tables.set(name, Of::RecoveryCpu, cpu.as_secs_f64());
    // A second after its start each child looks once at what it may have been left with.
    thread::sleep(Duration::from_millis(1500));
    fleet.measure_rest(tables);
    if let Some(signal) = contender.abilities.reload {
        let (time, cpu) = fleet.timed(|fleet| fleet.reload(signal, &serving))?;
        tables.set_per_child(name, Of::Reload, time);
        tables.set_per_child(name, Of::ReloadCpu, cpu);
    }
    if let Some(signal) = contender.abilities.stop {
        fleet.running.signal(signal)?;
        let time = fleet.running.wait_for_end(PATIENCE)?;
        tables.set_per_child(name, Of::Stop, time);
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

    fn measure_rest(&self, tables: &mut Tables) {
        let all = self.running.processes();
        let before = wake_ups(&all);
        thread::sleep(tables.rest);
        let woken = wake_ups(&all).saturating_sub(before);
        let (proportional, private) = memory(&all);
        #[expect(clippy::cast_precision_loss, reason = "numbers of bytes and wake-ups")]
        let mut set =
            |of, value: u64, parts: usize| tables.set(self.contender.name, of, value as f64 / parts as f64);
        set(Of::WakeUps, woken, 1);
        set(Of::Proportional, proportional, self.count);
        set(Of::Private, private, self.count);
    }
}
