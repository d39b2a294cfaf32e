//! The ends of fleets, and what has to hold when a fleet has ended.

use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use prefork_tests::client;
use prefork_tests::signal::{Signal, try_send};

use crate::cgroup::ProcessLimit;
use crate::faults::End;
use crate::fleet::{BOUND, Fleet, Orphan, Site};
use crate::inject::{fill_descriptors, note_deaths};
use crate::journal::Journal;

/// A second TERM this much later is the same TERM, and this much later an order to kill. The first is far below the
/// limit of 250 ms: the master of a busy machine notices a signal late.
const SAME: Duration = Duration::from_millis(5);
const LATER: Duration = Duration::from_millis(500);
/// How long the table of processes stays full after the death of the master.
const FULL: Duration = Duration::from_secs(1);
/// The status of what SIGKILL has ended.
const KILLED: i32 = 128 + Signal::SIGKILL as i32;
/// The status of what SIGTERM has ended.
const TERMINATED: i32 = 128 + Signal::SIGTERM as i32;

/// Ends the fleet, and checks its end.
pub(crate) fn end(fleet: &mut Fleet, site: &Site, journal: &Journal, end: End) {
    journal.note(format!("end: {end:?}"));
    prepare(fleet, site, journal, end);
    let how = begin(fleet, site, journal, end);
    let ended = fleet.wait(BOUND);
    let Some(status) = ended else {
        return journal.violation(format!("{end:?}: the master has not ended within {BOUND:?}"));
    };
    journal.note(format!("the master has ended: {status}"));
    let (ended, left) = fleet.wait_for_nobody(BOUND);
    note_deaths(journal);
    if !left.is_empty() {
        journal.violation(format!("{end:?}: processes are left: {left:?}"));
    }
    fleet.log.stall(false);
    site.limit.iter().for_each(ProcessLimit::lift);
    how.check(end, fleet, status, &ended, journal);
    if !client::is_refused(site.addr) {
        journal.violation(format!("{end:?}: {} does not refuse connections", site.addr));
    }
}

/// Kills a fleet that is not as it should be.
pub(crate) fn give_up(fleet: &mut Fleet, journal: &Journal) {
    kill_all(fleet, journal, "killed, because the run was given up");
}

/// Whether the master can refuse connections while it still listens. Without the privilege, a client that connects
/// in the last moment may be reset.
fn is_privileged() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What to expect of an end.
struct Expected {
    status: Option<i32>,
    /// Text that the log must have.
    says: Option<&'static str>,
    /// Whether children may be killed.
    kills: bool,
}

const GRACEFUL: Expected = Expected { status: Some(0), says: Some("stopped"), kills: false };

impl Expected {
    fn check(self, end: End, fleet: &Fleet, status: ExitStatus, ended: &[Orphan], journal: &Journal) {
        if status.code() != self.status {
            journal.violation(format!("{end:?}: the master ended with {status}"));
        }
        if let Some(text) = self.says
            && !fleet.log.wait_for(text, BOUND)
        {
            journal.violation(format!("{end:?}: the log does not say {text:?}"));
        }
        // Orphans end with 1, and with 0 if their master had ordered them to stop.
        let replaces = matches!(end, End::KillMasterInReload | End::KillMasterInUpgrade);
        let is_right = |orphan: &Orphan| match orphan.status {
            0 => replaces || !orphan.is_child,
            // The system kills a template.
            KILLED => fleet.preloads && !orphan.is_child,
            // The child that has checked the program for an upgrade.
            TERMINATED => end == End::KillMasterInUpgrade,
            status => status == 1,
        };
        for Orphan { pid, status, .. } in
            ended.iter().filter(|orphan| !is_right(orphan) && !journal.is_doomed(orphan.pid))
        {
            journal.violation(format!("{end:?}: orphan {pid} ended with {status}"));
        }
        let lines = fleet.log.since(0);
        let killed = lines.iter().filter(|line| line.contains("stopping at once"));
        if !self.kills && killed.count() > 0 {
            journal.violation(format!("{end:?}: the fleet stopped at once"));
        }
    }
}

/// Dooms all children of a fleet that is killed.
fn kill_all(fleet: &mut Fleet, journal: &Journal, how: &'static str) {
    journal.down(true, how);
    for process in [fleet.children(), fleet.templates()].concat() {
        journal.doom(process, how);
    }
}

fn begin(fleet: &mut Fleet, site: &Site, journal: &Journal, end: End) -> Expected {
    match end {
        End::Term
        | End::TermTwice
        | End::TermInReload
        | End::TermInUpgrade
        | End::TermWithStalledLog
        | End::TermWithFullTables
        | End::TermWithStoppedTemplate
        | End::TermWithStoppedChild => {
            let loses = match end {
                // A child without a number for a descriptor accepts nothing.
                End::TermWithFullTables => true,
                // The queue of a slot whose child was killed waits for the next one.
                End::TermWithStoppedTemplate => site.mode.reuseport && fleet.preloads,
                _ => false,
            };
            journal.down(loses || !is_privileged(), "the fleet stops");
            fleet.signal(Signal::SIGTERM);
            if end == End::TermTwice {
                thread::sleep(SAME);
                fleet.signal(Signal::SIGTERM);
            }
            if end == End::TermWithStoppedChild {
                thread::sleep(Duration::from_millis(300));
                for child in fleet.children() {
                    let _ = try_send(child, Signal::SIGCONT);
                }
            }
            // Messages that a stalled log has no room for are dropped.
            let says = GRACEFUL.says.filter(|_| end != End::TermWithStalledLog);
            Expected { says, ..GRACEFUL }
        }
        End::TermToAll => {
            journal.down(!is_privileged(), "the fleet stops");
            for pid in [fleet.children(), fleet.templates(), vec![fleet.master()]].concat() {
                let _ = try_send(pid, Signal::SIGTERM);
            }
            GRACEFUL
        }
        End::TermThenKill => {
            journal.down(!is_privileged(), "the fleet stops");
            fleet.signal(Signal::SIGTERM);
            thread::sleep(LATER);
            kill_all(fleet, journal, "killed by a second TERM");
            fleet.signal(Signal::SIGTERM);
            Expected { kills: true, ..GRACEFUL }
        }
        End::Quit => {
            kill_all(fleet, journal, "killed by QUIT");
            fleet.signal(Signal::SIGQUIT);
            Expected { kills: true, ..GRACEFUL }
        }
        End::KillMaster
        | End::KillMasterAndChild
        | End::KillMasterInReload
        | End::KillMasterInUpgrade
        | End::KillMasterWithStalledLog
        | End::KillMasterWithFullTables
        | End::KillMasterWithStoppedTemplate => {
            let children = fleet.children();
            journal.down(true, "the master was killed");
            fleet.signal(Signal::SIGKILL);
            if let (End::KillMasterAndChild, Some(child)) = (end, children.first()) {
                journal.doom(*child, "killed");
                let _ = try_send(*child, Signal::SIGKILL);
            }
            if end == End::KillMasterWithFullTables {
                // A server that needs a thread for each connection has to get one within its grace.
                thread::sleep(FULL);
                site.limit.iter().for_each(ProcessLimit::lift);
            }
            Expected { status: None, says: None, kills: false }
        }
        End::HookFails => {
            site.behave("hook=fail");
            // Such an end does not wait for what is queued.
            journal.down(true, "a hook failed");
            if let Some(child) = fleet.children().first() {
                journal.doom(*child, "killed");
                let _ = try_send(*child, Signal::SIGKILL);
            }
            Expected { status: Some(1), says: Some("hook on_child_spawn failed"), kills: false }
        }
    }
}

/// What is under way when the end begins.
fn prepare(fleet: &mut Fleet, site: &Site, journal: &Journal, end: End) {
    match end {
        End::TermInReload | End::KillMasterInReload => fleet.signal(Signal::SIGHUP),
        End::TermInUpgrade | End::KillMasterInUpgrade => fleet.signal(Signal::SIGUSR2),
        End::TermWithStoppedChild => {
            if let Some(child) = fleet.children().first() {
                let _ = try_send(*child, Signal::SIGSTOP);
            }
        }
        End::TermWithStalledLog | End::KillMasterWithStalledLog => fleet.log.stall(true),
        End::TermWithFullTables | End::KillMasterWithFullTables => {
            for process in [fleet.children(), fleet.templates()].concat() {
                fill_descriptors(process);
            }
            if end == End::KillMasterWithFullTables {
                let _ = site.limit.as_ref().is_some_and(ProcessLimit::fill);
            }
        }
        End::TermWithStoppedTemplate | End::KillMasterWithStoppedTemplate => {
            let (templates, children) = (fleet.templates(), fleet.children());
            let (Some(template), Some(child)) = (templates.first(), children.first()) else { return };
            let _ = try_send(*template, Signal::SIGSTOP);
            journal.doom(*child, "killed");
            let _ = try_send(*child, Signal::SIGKILL);
        }
        _ => return,
    }
    // Long enough for a part of what a signal asks for.
    thread::sleep(Duration::from_millis(fastrand::u64(..150)));
}
