//! The faults, and the sequence in which a seed draws them.

use prefork_tests::signal::{Signal, WITHOUT_EFFECT_IN_CHILD};

use crate::journal::Millis;
use crate::templates::TemplateFault;

/// With fewer kinds of ends than this, ends are what the run is for.
const SEVERAL: usize = 8;

/// What is done to a fleet that goes on. Durations are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Kills a child, which has a number among those that live.
    KillChild(usize),
    KillAllChildren,
    StopChild(usize, Millis),
    /// A signal that loses nothing.
    SignalChild(usize, Signal),
    /// A request that ends the child which gets it.
    Attack(Attack),
    Reload,
    ReopenLogs,
    Upgrade(Program),
    /// By the control socket.
    Command(&'static str),
    /// A reload that holds, and what ends the hold.
    Canary(HoldEnd, Millis),
    /// Clients of the control socket that follow the events, and do not read.
    Followers(usize, Millis),
    /// One slot more or fewer.
    Resize,
    StopMaster(Millis),
    /// Nobody reads the log.
    StallLog(Millis),
    FillMastersTable(Millis),
    FillChildsTable(usize, Millis),
    FillProcessTable(Millis),
    ProgramNotExecutable(Millis),
    /// Children behave like this before they are ready.
    Boot(&'static str, Millis),
    SlowHook(Millis),
    ResetConnections(usize),
    HalfRequests(usize, Millis),
    IdleConnections(usize, Millis),
    Template(TemplateFault),
}

/// What a request makes a child do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    Abort,
    Panic,
    ExitZero,
    ExitOne,
    Hang,
    Flood,
    CloseLink,
    SendDescriptors,
}

impl Attack {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Abort => "/abort",
            Self::Panic => "/panic",
            Self::ExitZero => "/exit/0",
            Self::ExitOne => "/exit/1",
            Self::Hang => "/hang",
            Self::Flood => "/flood",
            Self::CloseLink => "/close",
            Self::SendDescriptors => "/descriptors",
        }
    }

    /// How the child ends, if it does.
    pub(crate) fn dooms(self) -> Option<&'static str> {
        match self {
            Self::Abort => Some("aborts"),
            Self::ExitZero | Self::ExitOne => Some("exits"),
            Self::Hang => Some("hangs, and aborts or is killed"),
            Self::Flood => Some("floods its master, and is killed"),
            Self::CloseLink => Some("closes its link, and is killed"),
            // The request's own thread or task ends.
            Self::Panic | Self::SendDescriptors => None,
        }
    }
}

/// The end of a hold. If the canary has failed by then, there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldEnd {
    Promote,
    Rollback,
    Reload,
    /// The time of the hold is over.
    Time,
}

impl HoldEnd {
    /// What is sent to the control socket.
    pub(crate) fn command(self) -> Option<&'static str> {
        match self {
            Self::Promote => Some("/promote"),
            Self::Rollback => Some("/rollback"),
            Self::Reload => Some("/reload"),
            Self::Time => None,
        }
    }
}

/// The file that an upgrade finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Good,
    /// It exits at once.
    Failing,
    Missing,
    NotExecutable,
}

/// The end of a fleet, after which a new one is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Term,
    TermToAll,
    /// Twice within 100 ms, which is once.
    TermTwice,
    /// The second time is an order to kill.
    TermThenKill,
    TermInReload,
    TermInUpgrade,
    /// While a child is stopped for 300 ms.
    TermWithStoppedChild,
    /// While nobody reads the log.
    TermWithStalledLog,
    /// While the tables of descriptors of the children are full.
    TermWithFullTables,
    /// While the template is stopped, for good, and is to fork a child.
    TermWithStoppedTemplate,
    Quit,
    KillMaster,
    KillMasterWithStalledLog,
    /// While the tables of descriptors of the children, and that of processes, are full.
    KillMasterWithFullTables,
    KillMasterWithStoppedTemplate,
    KillMasterAndChild,
    KillMasterInReload,
    KillMasterInUpgrade,
    HookFails,
}

impl Fault {
    /// The name in the report.
    pub(crate) fn name(self) -> String {
        match self {
            Self::KillChild(_) => "SIGKILL to a child".to_owned(),
            Self::KillAllChildren => "SIGKILL to all children".to_owned(),
            Self::StopChild(..) => "SIGSTOP, SIGCONT to a child".to_owned(),
            Self::SignalChild(_, signal) => format!("{signal} to a child"),
            Self::Attack(attack) => format!("child: {attack:?}"),
            Self::Reload => "SIGHUP to the master".to_owned(),
            Self::ReopenLogs => "SIGUSR1 to the master".to_owned(),
            Self::Upgrade(program) => format!("SIGUSR2 to the master, program {program:?}"),
            Self::Command(target) => format!("command {target}"),
            Self::Canary(end, _) => format!("canary, ended by {end:?}"),
            Self::Followers(..) => "followers of the events that do not read".to_owned(),
            Self::Resize => "SIGTTIN or SIGTTOU to the master".to_owned(),
            Self::StopMaster(_) => "SIGSTOP, SIGCONT to the master".to_owned(),
            Self::StallLog(_) => "log is not read".to_owned(),
            Self::FillMastersTable(_) => "descriptor table of the master full".to_owned(),
            Self::FillChildsTable(..) => "descriptor table of a child full".to_owned(),
            Self::FillProcessTable(_) => "process table full".to_owned(),
            Self::ProgramNotExecutable(_) => "program not executable".to_owned(),
            Self::Boot(how, _) => format!("children before ready: {how}"),
            Self::SlowHook(_) => "on_child_spawn slow".to_owned(),
            Self::ResetConnections(_) => "clients reset connections".to_owned(),
            Self::HalfRequests(..) => "clients send half requests".to_owned(),
            Self::IdleConnections(..) => "clients leave connections idle".to_owned(),
            Self::Template(fault) => fault.name(),
        }
    }
}

/// What is done in a row; then the fleet has to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Faults, each after a pause.
    Volley(Vec<(Millis, Fault)>),
    End(Millis, End),
}

/// Draws from a list in random order, and again when it is used up, so that nothing is left out for long.
#[derive(Debug)]
struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    fn new(all: Vec<T>) -> Self {
        Self { all, left: Vec::new() }
    }

    /// Only these, unless there are none.
    fn of(mut self, wanted: impl Fn(&T) -> bool) -> Self {
        if self.all.iter().any(&wanted) {
            self.all.retain(wanted);
        }
        self
    }

    fn draw(&mut self, random: &mut fastrand::Rng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            random.shuffle(&mut self.left);
        }
        // The deck is not empty.
        self.left.pop().unwrap_or(self.all[0])
    }
}

/// The sequence of a seed, without end.
#[derive(Debug)]
pub(crate) struct Plan {
    random: fastrand::Rng,
    faults: Deck<Fault>,
    ends: Deck<End>,
    /// The number of volleys until the fleet ends.
    volleys: u32,
}

impl Plan {
    /// `only`: a part of the names of the faults or ends that are drawn.
    pub(crate) fn new(seed: u64, watched: bool, only: &str) -> Self {
        let narrow = |fault: &Fault| fault.name().contains(only);
        let narrow_end = |end: &End| format!("{end:?}").contains(only);
        Self {
            random: fastrand::Rng::with_seed(seed),
            faults: Deck::new(faults(watched)).of(narrow),
            ends: Deck::new(ends()).of(narrow_end),
            volleys: 2,
        }
    }

    pub(crate) fn next(&mut self) -> Step {
        if self.volleys == 0 {
            // Some fleets end soon, and some live long.
            let long = self.random.bool() && self.ends.all.len() > SEVERAL;
            self.volleys = if long { self.random.u32(6..30) } else { self.random.u32(1..6) };
            return Step::End(self.random.u64(..300), self.ends.draw(&mut self.random));
        }
        self.volleys -= 1;
        let mut volley = Vec::new();
        for _ in 0..self.random.usize(1..=3) {
            let fault = self.faults.draw(&mut self.random);
            volley.push((self.random.u64(..400), self.vary(fault)));
        }
        Step::Volley(with_child_left(volley))
    }

    /// The fault with a target and a duration.
    fn vary(&mut self, fault: Fault) -> Fault {
        let number = self.random.usize(..64);
        let time = self.random.u64(200..2000);
        let many = self.random.usize(5..40);
        match fault {
            Fault::KillChild(_) => Fault::KillChild(number),
            Fault::StopChild(..) => Fault::StopChild(number, time),
            Fault::SignalChild(_, signal) => Fault::SignalChild(number, signal),
            Fault::StopMaster(_) => Fault::StopMaster(time),
            Fault::StallLog(_) => Fault::StallLog(time * 2),
            Fault::FillMastersTable(_) => Fault::FillMastersTable(time),
            Fault::FillChildsTable(..) => Fault::FillChildsTable(number, time),
            Fault::FillProcessTable(_) => Fault::FillProcessTable(time),
            Fault::ProgramNotExecutable(_) => Fault::ProgramNotExecutable(time),
            Fault::Boot(how, _) => Fault::Boot(how, time),
            Fault::SlowHook(_) => Fault::SlowHook(time),
            Fault::ResetConnections(_) => Fault::ResetConnections(many),
            Fault::HalfRequests(..) => Fault::HalfRequests(many, time),
            Fault::IdleConnections(..) => Fault::IdleConnections(many * 5, time),
            Fault::Canary(end, _) => Fault::Canary(end, time),
            Fault::Followers(..) => Fault::Followers(many, time),
            Fault::Template(fault) => Fault::Template(fault.vary(number, time)),
            Fault::KillAllChildren
            | Fault::Attack(_)
            | Fault::Command(_)
            | Fault::Reload
            | Fault::ReopenLogs
            | Fault::Upgrade(_)
            | Fault::Resize => fault,
        }
    }
}

/// Without a ready child, five failures before ready end a fleet, as documented.
fn with_child_left(mut volley: Vec<(Millis, Fault)>) -> Vec<(Millis, Fault)> {
    let fails = |fault| match fault {
        Fault::Boot(..) => true,
        Fault::Template(fault) => fault.fails_loads(),
        _ => false,
    };
    if volley.iter().any(|(_, fault)| fails(*fault)) {
        let kill_all = [Fault::KillAllChildren, Fault::Template(TemplateFault::KillWithAllChildren)];
        volley.retain(|(_, fault)| !kill_all.contains(fault));
    }
    volley
}

fn ends() -> Vec<End> {
    vec![
        End::Term,
        End::TermToAll,
        End::TermTwice,
        End::TermThenKill,
        End::TermInReload,
        End::TermInUpgrade,
        End::TermWithStoppedChild,
        End::TermWithStalledLog,
        End::TermWithFullTables,
        End::TermWithStoppedTemplate,
        End::Quit,
        End::KillMaster,
        End::KillMasterWithStalledLog,
        End::KillMasterWithFullTables,
        End::KillMasterWithStoppedTemplate,
        End::KillMasterAndChild,
        End::KillMasterInReload,
        End::KillMasterInUpgrade,
        End::HookFails,
    ]
}

fn faults(watched: bool) -> Vec<Fault> {
    let signals = [Signal::SIGTERM, Signal::SIGTERM].into_iter().chain(WITHOUT_EFFECT_IN_CHILD);
    let attacks = [
        Attack::Abort,
        Attack::Panic,
        Attack::ExitZero,
        Attack::ExitOne,
        Attack::Flood,
        Attack::CloseLink,
        Attack::SendDescriptors,
    ];
    let mut faults: Vec<Fault> = signals.map(|signal| Fault::SignalChild(0, signal)).collect();
    faults.extend(attacks.into_iter().map(Fault::Attack));
    faults.extend(watched.then_some(Fault::Attack(Attack::Hang)));
    faults.extend(["exit0", "exit1", "panic", "abort", "slow"].map(|how| Fault::Boot(how, 0)));
    let programs = [Program::Good, Program::Good, Program::Failing, Program::Missing, Program::NotExecutable];
    faults.extend(programs.map(Fault::Upgrade));
    let ends = [HoldEnd::Promote, HoldEnd::Rollback, HoldEnd::Reload, HoldEnd::Time];
    faults.extend(ends.map(|end| Fault::Canary(end, 0)));
    faults.extend(["/reload", "/upgrade", "/recycle?slot=1", "/rollback", "/promote"].map(Fault::Command));
    faults.extend([
        Fault::KillChild(0),
        Fault::KillChild(0),
        Fault::KillChild(0),
        Fault::KillAllChildren,
        Fault::StopChild(0, 0),
        Fault::StopChild(0, 0),
        Fault::Reload,
        Fault::Reload,
        Fault::Reload,
        Fault::Reload,
        Fault::ReopenLogs,
        Fault::Resize,
        Fault::Resize,
        Fault::Resize,
        Fault::StopMaster(0),
        Fault::StallLog(0),
        Fault::FillMastersTable(0),
        Fault::FillChildsTable(0, 0),
        Fault::FillProcessTable(0),
        Fault::ProgramNotExecutable(0),
        Fault::SlowHook(0),
        Fault::ResetConnections(0),
        Fault::HalfRequests(0, 0),
        Fault::IdleConnections(0, 0),
        Fault::Followers(0, 0),
    ]);
    faults.extend(TemplateFault::all().map(Fault::Template));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_decides_the_sequence() {
        let sequence = |seed| {
            let mut plan = Plan::new(seed, true, "");
            (0..200).map(|_| plan.next()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn every_fault_and_every_end_is_drawn() {
        let mut plan = Plan::new(7, true, "");
        let (mut names, mut drawn) = (Vec::new(), Vec::new());
        for _ in 0..2000 {
            match plan.next() {
                Step::Volley(volley) => names.extend(volley.iter().map(|(_, fault)| fault.name())),
                Step::End(_, end) => drawn.push(end),
            }
        }
        assert!(faults(true).iter().all(|fault| names.contains(&fault.name())));
        assert!(ends().iter().all(|end| drawn.contains(end)));
    }

    #[test]
    fn no_volley_kills_all_children_while_new_ones_fail() {
        let kill = (0, Fault::KillAllChildren);
        assert_eq!(with_child_left(vec![kill, (0, Fault::Boot("exit1", 9))]).len(), 1);
        assert_eq!(with_child_left(vec![kill, (0, Fault::Reload)]).len(), 2);
        let load = |how| (0, Fault::Template(TemplateFault::Load(how, 9)));
        assert_eq!(with_child_left(vec![kill, load("panic")]).len(), 1);
        assert_eq!(with_child_left(vec![kill, load("slow")]).len(), 2);
    }
}
