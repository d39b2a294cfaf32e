//! The run: modes, fleets, volleys, and the verdict.

use std::io;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use prefork_tests::accepts::AcceptLog;
use prefork_tests::proc;
use prefork_tests::tls::TlsClient;

use crate::ending;
use crate::faults::{End, Fault, Plan, Program, Step};
use crate::fleet::{self, Fleet, Site};
use crate::inject::Injector;
use crate::invariants::{Checks, Size};
use crate::journal::Journal;
use crate::load::Load;
use crate::options::{Mode, Options, USAGE};
use crate::oracle::Oracle;
use crate::report::Tally;
use crate::wire::Target;

/// The part of the journal around an unexplained failure.
const BEFORE: u64 = 3000;
const AFTER: u64 = 500;
/// Unexplained failures that are printed with the journal.
const PRINTED: u64 = 10;

pub(crate) fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = prepare() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let Options { modes, duration, seed, .. } = &options;
    let each = *duration / u32::try_from(modes.len()).unwrap_or(1);
    println!("seed {seed}, {} for each mode", humantime::format_duration(each));
    let mut passed = true;
    for mode in modes {
        let tally = Run::of(*mode, &options).run(each);
        let verdict = if tally.passed() { "passed" } else { "FAILED" };
        println!("\nmode {}: {verdict} (seed {seed})\n{tally}", mode.name);
        passed &= tally.passed();
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Adopts orphans, and ends every process when this one is interrupted.
fn prepare() -> io::Result<()> {
    fleet::become_subreaper()?;
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    thread::spawn(move || {
        let signal = signals.wait();
        eprintln!("interrupted: {signal:?}");
        fleet::kill_all();
        process::exit(1);
    });
    Ok(())
}

struct Run<'a> {
    options: &'a Options,
    site: Site,
    target: Arc<Target>,
    journal: Arc<Journal>,
    oracle: Oracle,
    plan: Plan,
    tally: Tally,
}

impl<'a> Run<'a> {
    fn of(mode: Mode, options: &'a Options) -> Self {
        let site = Site::new(mode);
        let tls = mode.tls.then(|| TlsClient::new(&[&site.certificate], None));
        let accepts = AcceptLog::open(site.accepts()).unwrap_or_else(|error| panic!("{error}"));
        let target = Arc::new(Target { addr: site.addr, tls, accepts });
        Self {
            options,
            site,
            target,
            journal: Arc::new(Journal::new()),
            oracle: Oracle::default(),
            plan: Plan::new(options.seed, mode.watched, &options.only),
            tally: Tally::default(),
        }
    }

    fn run(mut self, duration: Duration) -> Tally {
        let until = Instant::now() + duration;
        self.journal.note(format!("mode {}, seed {}", self.site.mode.name, self.options.seed));
        // Until the first fleet listens.
        self.journal.down(false, "no fleet has started yet");
        let keeps = self.site.mode.keeps;
        let mut load = Load::start(&self.target, keeps, self.options.clients, self.options.seed);
        while Instant::now() < until {
            if let Err(broken) = self.fleet(&load, until) {
                self.journal.violation(broken);
                break;
            }
        }
        load.stop();
        self.judge(&load);
        self.tally.violations = self.journal.violations();
        if let Some(path) = &self.options.journal
            && let Err(error) = self.journal.save(path)
        {
            eprintln!("{}: {error}", path.display());
        }
        self.tally
    }

    /// The life of one fleet.
    fn fleet(&mut self, load: &Load, until: Instant) -> Result<(), String> {
        let preloads = self.options.preload.of_fleet(self.tally.fleets, self.options.seed);
        let mut fleet = Fleet::start(&self.site, &self.journal, preloads)?;
        let start = Instant::now();
        let mut checks = Checks::new();
        self.tally.fleets += 1;
        self.tally.preloading += u64::from(preloads);
        let end = self.volleys(&mut fleet, &mut checks, load, until);
        self.tally.master_ticks += proc::cpu_ticks(fleet.master());
        self.tally.master_millis += u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.tally.worst_descriptors = self.tally.worst_descriptors.max(checks.worst_descriptors);
        self.tally.worst_kib = self.tally.worst_kib.max(checks.worst_kib);
        let end = end.inspect_err(|_| ending::give_up(&mut fleet, &self.journal))?;
        self.tally.injected(&format!("end of the fleet: {end:?}"), true);
        ending::end(&mut fleet, &self.site, &self.journal, end);
        checks.check_log(&fleet, &self.journal);
        Ok(())
    }

    /// Injects volleys until it is time for an end.
    fn volleys(
        &mut self,
        fleet: &mut Fleet,
        checks: &mut Checks,
        load: &Load,
        until: Instant,
    ) -> Result<End, String> {
        let mut size = Size::of(fleet.children().len());
        checks.check(fleet, (&self.site, &self.journal), &mut size, false)?;
        while Instant::now() < until {
            match self.plan.next() {
                Step::Volley(volley) => {
                    self.volley(fleet, &mut size, &volley);
                    let may_fail = volley.iter().any(|(_, fault)| fails_children(*fault));
                    let checked = checks.check(fleet, (&self.site, &self.journal), &mut size, may_fail);
                    self.judge(load);
                    checked?;
                }
                Step::End(pause, end) => {
                    thread::sleep(Duration::from_millis(pause));
                    return Ok(end);
                }
            }
        }
        Ok(End::Term)
    }

    fn volley(&mut self, fleet: &mut Fleet, size: &mut Size, volley: &[(u64, Fault)]) {
        let place = (&self.site, &*self.target);
        Injector::new(fleet, place, &self.journal, &mut self.tally, size).volley(volley);
        self.tally.volleys += 1;
    }

    /// Explains the failures so far.
    fn judge(&mut self, load: &Load) {
        use std::sync::atomic::Ordering::Relaxed;
        let counts = load.counts();
        self.tally.sent = counts.sent.load(Relaxed);
        self.tally.answered = counts.answered.load(Relaxed);
        self.tally.repeated = counts.repeated.load(Relaxed);
        self.tally.slowest = counts.slowest.load(Relaxed);
        let facts = self.journal.facts();
        for failure in load.take_failures() {
            if let Some(how) = self.oracle.explain(&facts, &failure) {
                self.tally.explained(failure.reason, how);
                continue;
            }
            self.tally.unexplained += 1;
            let (began, failed) = (self.journal.seconds(failure.began), self.journal.seconds(failure.failed));
            eprintln!("{began} to {failed} UNEXPLAINED: {}", failure.what);
            if self.tally.unexplained <= PRINTED {
                let from = failure.began.saturating_sub(BEFORE);
                for line in self.journal.excerpt(from, failure.failed + AFTER) {
                    eprintln!("    {line}");
                }
            }
            self.journal.note(format!("UNEXPLAINED: {}", failure.what));
        }
    }
}

/// Faults with which children fail before they are ready.
fn fails_children(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Boot(..)
            | Fault::Upgrade(Program::Failing)
            | Fault::FillMastersTable(_)
            | Fault::FillProcessTable(_)
    ) || matches!(fault, Fault::Template(fault) if fault.fails_starts())
}
