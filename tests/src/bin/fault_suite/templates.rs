//! Faults of templates: the processes that fork the children of a fleet with `preload`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use prefork_tests::signal::{Signal, WITHOUT_EFFECT_IN_CHILD, try_send};

use crate::faults::Program;
use crate::fleet::ANSWER_TIME;
use crate::inject::{Injector, Undo, fill_descriptors};
use crate::journal::Millis;

/// How long a stopped template may be waited for, and longer.
const STOPPED_FOR_GOOD: Duration = ANSWER_TIME.saturating_add(Duration::from_secs(2));
/// How long a fork may take that is waited for.
const FORK_TIME: Duration = Duration::from_secs(1);

/// What is done to the template of a fleet. Numbers are of children, durations are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateFault {
    Kill,
    KillWithChild(usize),
    KillWithAllChildren,
    Stop(Millis),
    /// While a child is to be forked, for longer than the master waits for that.
    StopForGood(usize),
    ReloadWhileStopped(Millis),
    UpgradeWhileStopped(Millis),
    /// A signal without effect.
    Signal(Signal),
    /// A child is killed as soon as it is seen, and perhaps its template as well.
    KillForked {
        child: usize,
        with_template: bool,
    },
    /// A child is stopped as soon as it is seen, and its template is killed.
    StopForked(usize, Millis),
    FillTable(Millis),
    /// What is loaded behaves like this.
    Load(&'static str, Millis),
}

impl TemplateFault {
    /// The name in the report.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Kill => "template: SIGKILL".to_owned(),
            Self::KillWithChild(_) => "template: SIGKILL, also to a child".to_owned(),
            Self::KillWithAllChildren => "template: SIGKILL, also to all children".to_owned(),
            Self::Stop(_) => "template: SIGSTOP, SIGCONT".to_owned(),
            Self::StopForGood(_) => "template: SIGSTOP while it is to fork".to_owned(),
            Self::ReloadWhileStopped(_) => "template: SIGSTOP, SIGCONT in a reload".to_owned(),
            Self::UpgradeWhileStopped(_) => "template: SIGSTOP, SIGCONT in an upgrade".to_owned(),
            Self::Signal(signal) => format!("template: {signal}"),
            Self::KillForked { with_template: false, .. } => "template: its child killed at once".to_owned(),
            Self::KillForked { with_template: true, .. } => "template: killed with its new child".to_owned(),
            Self::StopForked(..) => "template: killed, its new child stopped".to_owned(),
            Self::FillTable(_) => "template: descriptor table full".to_owned(),
            Self::Load(how, _) => format!("template: load {how}"),
        }
    }

    /// The fault with a target and a duration.
    pub(crate) fn vary(self, number: usize, time: Millis) -> Self {
        match self {
            Self::KillWithChild(_) => Self::KillWithChild(number),
            Self::Stop(_) => Self::Stop(time),
            Self::StopForGood(_) => Self::StopForGood(number),
            Self::ReloadWhileStopped(_) => Self::ReloadWhileStopped(time),
            Self::UpgradeWhileStopped(_) => Self::UpgradeWhileStopped(time),
            Self::KillForked { with_template, .. } => Self::KillForked { child: number, with_template },
            Self::StopForked(..) => Self::StopForked(number, time),
            Self::FillTable(_) => Self::FillTable(time),
            Self::Load(how, _) => Self::Load(how, time),
            Self::Kill | Self::KillWithAllChildren | Self::Signal(_) => self,
        }
    }

    /// Whether a child or a template can end by itself before it is ready.
    pub(crate) fn fails_starts(self) -> bool {
        matches!(self, Self::FillTable(_)) || self.fails_loads()
    }

    /// Whether no template can load.
    pub(crate) fn fails_loads(self) -> bool {
        matches!(self, Self::Load(how, _) if how != "slow")
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let signals = [Signal::SIGTERM].into_iter().chain(WITHOUT_EFFECT_IN_CHILD).map(Self::Signal);
        let loads = ["slow", "fail", "panic", "exit"].map(|how| Self::Load(how, 0));
        let others = [
            Self::Kill,
            Self::Kill,
            Self::KillWithChild(0),
            Self::KillWithAllChildren,
            Self::Stop(0),
            Self::StopForGood(0),
            Self::ReloadWhileStopped(0),
            Self::UpgradeWhileStopped(0),
            Self::KillForked { child: 0, with_template: false },
            Self::KillForked { child: 0, with_template: true },
            Self::StopForked(0, 0),
            Self::FillTable(0),
        ];
        signals.chain(loads).chain(others)
    }
}

impl Injector<'_> {
    /// Returns whether the fault could be injected: a fleet may have no template, or none at this moment.
    pub(crate) fn inject_template(&mut self, fault: TemplateFault) -> bool {
        let Some(template) = self.fleet.templates().last().copied() else { return false };
        match fault {
            TemplateFault::Kill => return self.kill(template),
            TemplateFault::KillWithChild(number) => {
                let Some(child) = self.child(number) else { return false };
                return self.kill(template) && self.kill(child);
            }
            TemplateFault::KillWithAllChildren => {
                self.kill(template);
                for child in self.fleet.children() {
                    self.kill(child);
                }
            }
            TemplateFault::Stop(time) => self.stop_process(template, time),
            TemplateFault::StopForGood(number) => {
                let Some(child) = self.child(number) else { return false };
                // It is killed, unless no child is needed of it.
                self.fleet.may_end.insert(template);
                self.stop_process(template, Millis::try_from(STOPPED_FOR_GOOD.as_millis()).unwrap_or(0));
                return self.kill(child);
            }
            TemplateFault::ReloadWhileStopped(time) => {
                self.stop_process(template, time);
                self.fleet.signal(Signal::SIGHUP);
            }
            TemplateFault::UpgradeWhileStopped(time) => {
                self.stop_process(template, time);
                self.upgrade(Program::Good);
            }
            TemplateFault::Signal(signal) => {
                self.journal.note(format!("{signal} to template {template}"));
                return try_send(template, signal).is_ok();
            }
            TemplateFault::KillForked { child, with_template } => {
                let Some(forked) = self.forked_in_place_of(child) else { return false };
                return self.kill(forked) && (!with_template || self.kill(template));
            }
            TemplateFault::StopForked(child, time) => {
                let Some(forked) = self.forked_in_place_of(child) else { return false };
                self.stop_process(forked, time);
                return self.kill(template);
            }
            TemplateFault::FillTable(time) => {
                // It need not go on without a descriptor for the next link.
                self.fleet.may_end.insert(template);
                self.later(time, Undo::RestoreTables);
                return fill_descriptors(template);
            }
            TemplateFault::Load(how, time) => {
                self.site.behave(&format!("load={how}"));
                self.later(time, Undo::Behave);
            }
        }
        true
    }

    /// Kills a child, and looks for the next one of this master.
    fn forked_in_place_of(&mut self, child: usize) -> Option<u32> {
        let child = self.child(child)?;
        let master = self.fleet.master();
        let before = children_of(master);
        self.kill(child);
        let start = Instant::now();
        while start.elapsed() < FORK_TIME {
            if let Some(forked) = children_of(master).into_iter().find(|pid| !before.contains(pid)) {
                return Some(forked);
            }
            thread::yield_now();
        }
        None
    }
}

/// The children of the only thread that has some, sooner than from a look at each process.
fn children_of(master: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
