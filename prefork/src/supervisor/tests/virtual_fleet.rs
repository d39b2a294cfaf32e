//! A simulated driver with simulated children.
//!
//! It performs every action before it polls the next, and delivers all events of one moment in one batch
//! (messages, then requests, then exits, like the reactor), and some requests between two actions. Then it
//! advances the clock to the next event or deadline. After each batch it checks the invariants of `check.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::leader::Leaders;
use super::*;

/// The outcome of an attempt to start a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Works,
    FailsForNow,
    FailsForGood,
}

/// The behaviour of a simulated child. Times count from its start unless stated otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    pub(super) start: Start,
    /// When the driver learns whether it was started: a template forks it. 0: at once.
    pub(super) told_after: Duration,
    pub(super) ready: Option<Duration>,
    /// When it exits by itself, and whether cleanly.
    pub(super) exit: Option<(Duration, bool)>,
    /// When it asks to be replaced.
    pub(super) recycle_requested: Option<Duration>,
    /// When it closes the handshake without taking it.
    pub(super) refuses: Option<Duration>,
    /// When it closes its link, and lives on.
    pub(super) unlinks: Option<Duration>,
    /// The time from a stop request to its exit; `None`: it exits when it is killed.
    pub(super) stop: Option<Duration>,
}

pub(super) const WELL: Nature = Nature {
    start: Start::Works,
    told_after: Duration::ZERO,
    ready: Some(ms(100)),
    exit: None,
    recycle_requested: None,
    refuses: None,
    unlinks: None,
    stop: Some(ms(100)),
};
pub(super) const STILLBORN: Nature = Nature { ready: None, exit: Some((ms(50), false)), ..WELL };
pub(super) const NEVER_READY: Nature = Nature { ready: None, ..WELL };
pub(super) const STUBBORN: Nature = Nature { stop: None, ..WELL };
pub(super) const UNSTARTABLE: Nature = Nature { start: Start::FailsForNow, ..WELL };

#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) slot: usize,
    pub(super) nature: Nature,
    pub(super) terminated: bool,
    pub(super) killed: bool,
}

/// See the [module](self).
#[derive(Clone)]
pub(super) struct Fleet {
    pub(super) supervisor: Supervisor,
    pub(super) settings: Settings,
    pub(super) now: Instant,
    pub(super) start: Instant,
    /// The behaviour of single children, by number.
    pub(super) natures: BTreeMap<u64, Nature>,
    /// The behaviour of all other children.
    pub(super) nature: Nature,
    pub(super) processes: BTreeMap<ChildId, Process>,
    /// The children of which it is not known whether they were started, and their slots.
    pub(super) ordered: BTreeMap<ChildId, usize>,
    pub(super) leaders: Leaders,
    /// The generations whose program the driver keeps.
    pub(super) programs: BTreeSet<u32>,
    /// The planned events.
    pub(super) agenda: BTreeMap<(Instant, u8, u64), Event>,
    pub(super) planned: u64,
    /// The children whose exit was reported in the current batch.
    pub(super) just_gone: BTreeSet<ChildId>,
    /// Requests that arrive between two actions: after so many.
    pub(super) interruptions: BTreeMap<usize, Request>,
    /// After so many actions the driver looks at the events, if only starts are left to do.
    pub(super) actions_in_a_turn: usize,
    /// The number of the hook call that fails.
    pub(super) failing_hook: Option<usize>,
    pub(super) hooks: usize,
    /// The number of processes that were started.
    pub(super) spawned: u64,
    /// The time that the children need to accept the queue when the fleet stops.
    pub(super) queue: Duration,
    pub(super) emptied_at: Instant,
    /// Whether a new program can be executed.
    pub(super) exec_works: bool,
    /// Whether the new program's children have other privileges.
    pub(super) moved: bool,
    /// The program's answer when it is asked about a canary.
    pub(super) answer: Option<Event>,
    /// All performed actions, with their time.
    pub(super) history: Vec<(Instant, Action)>,
    pub(super) told: usize,
    pub(super) closed: bool,
    pub(super) verdict: Option<Verdict>,
    /// The number of consecutive batches at the same time.
    pub(super) idle: u32,
}

impl Fleet {
    pub(super) fn new(settings: Settings) -> Self {
        let start = Instant::now();
        Self {
            supervisor: Supervisor::new(settings),
            settings,
            now: start,
            start,
            natures: BTreeMap::new(),
            nature: WELL,
            processes: BTreeMap::new(),
            ordered: BTreeMap::new(),
            leaders: Leaders::default(),
            programs: BTreeSet::from([0]),
            agenda: BTreeMap::new(),
            planned: 0,
            just_gone: BTreeSet::new(),
            interruptions: BTreeMap::new(),
            actions_in_a_turn: usize::MAX,
            failing_hook: None,
            hooks: 0,
            spawned: 0,
            queue: Duration::ZERO,
            emptied_at: start,
            exec_works: false,
            moved: false,
            answer: None,
            history: Vec::new(),
            told: 0,
            closed: false,
            verdict: None,
            idle: 0,
        }
    }

    /// A fleet whose children are healthy and ready. Its story so far is consumed.
    pub(super) fn serving(settings: Settings) -> Self {
        let mut fleet = Self::new(settings);
        fleet.run(secs(1));
        fleet.story();
        fleet
    }

    /// Sets the behaviour of the child with this number.
    pub(super) fn cast(&mut self, child: u64, nature: Nature) {
        self.natures.insert(child, nature);
    }

    /// Plans an event.
    pub(super) fn plan(&mut self, at: Instant, event: Event) {
        let rank = match event {
            Event::SettingsChanged(_) | Event::Request(_) => 1,
            Event::Exited { .. } => 2,
            _ => 0,
        };
        self.planned += 1;
        self.agenda.insert((at, rank, self.planned), event);
    }

    /// Advances the clock by `time`.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.act();
        while self.verdict.is_none() {
            let now = self.supervisor.waits_with_starts().then_some(self.now);
            let deadlines = self.supervisor.next_deadline().into_iter().chain(now);
            let next = self.agenda.keys().map(|key| key.0).chain(deadlines).min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.step(at),
                None => break,
            }
        }
        self.now = end;
    }

    /// Delivers the events of one moment and performs the resulting actions.
    pub(super) fn step(&mut self, at: Instant) {
        let is_busy = at > self.now || self.supervisor.waits_with_starts();
        self.idle = if is_busy { 0 } else { self.idle + 1 };
        assert!(self.idle < 10, "the driver spins: {:?}", self.supervisor);
        self.now = self.now.max(at);
        let later = self.agenda.split_off(&(self.now, u8::MAX, u64::MAX));
        let batch = std::mem::replace(&mut self.agenda, later);
        for event in batch.into_values() {
            self.deliver(event);
        }
        self.supervisor.handle(self.now, Event::DeadlinePassed);
        let overdue = self.supervisor.next_deadline().filter(|at| *at <= self.now);
        assert_eq!(overdue, None, "a deadline that has passed must not come back: {:?}", self.supervisor);
        self.act();
    }

    pub(super) fn deliver(&mut self, event: Event) {
        if let Event::Ready(child)
        | Event::Checked(child)
        | Event::RecycleRequested(child, _)
        | Event::HandshakeRefused(child)
        | Event::LinkClosed(child)
        | Event::LinkAbused(child)
        | Event::Candidate(child)
        | Event::Resigned(child) = event
        {
            if !self.processes.contains_key(&child) {
                return;
            }
        }
        if let Event::Spawned { child, .. } = event {
            if let Some(slot) = self.ordered.remove(&child) {
                self.tell_start(child, slot);
            }
            return;
        }
        if let Event::Exited { child, .. } = event {
            if self.processes.remove(&child).is_none() {
                return;
            }
            self.just_gone.insert(child);
        }
        self.note_leadership(event);
        if let Event::SettingsChanged(settings) = event {
            if self.supervisor.takes_changes() {
                self.settings = settings;
            }
        }
        if let Event::Request(Request::Reload | Request::ReloadWith(_) | Request::Upgrade) = event {
            self.programs.insert(self.supervisor.next_generation());
        }
        self.supervisor.handle(self.now, event);
    }

    /// Performs the actions of one turn.
    pub(super) fn act(&mut self) {
        let until = self.history.len().saturating_add(self.actions_in_a_turn);
        while !(self.history.len() >= until && self.supervisor.waits_with_starts()) && self.act_once() {
            if let Some(request) = self.interruptions.remove(&self.history.len()) {
                self.deliver(Event::Request(request));
            }
        }
        self.just_gone.clear();
        self.forget_programs();
        self.check();
    }

    /// The driver does so at the end of each turn, and before it calls a hook.
    fn forget_programs(&mut self) {
        self.programs.retain(|generation| self.supervisor.needs_generation(*generation));
    }

    /// Performs one action. `false` if there was none.
    pub(super) fn act_once(&mut self) -> bool {
        let Some(action) = self.supervisor.poll_action() else { return false };
        assert_eq!(self.verdict, None, "{action:?} after the end");
        if action != Action::CheckQueues {
            self.history.push((self.now, action.clone()));
        }
        self.perform(action);
        true
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { child, slot, generation } => {
                assert!(self.programs.contains(&generation), "{child:?} has no program: {self:?}");
                self.spawn(child, slot);
            }
            Action::Withdraw(child) => self.withdraw(child),
            Action::Terminate(child) | Action::StopAfterQueue(child) => self.terminate(child),
            Action::Kill(child) => self.kill(child),
            Action::KillFailed(child) => {
                self.assert_known(child);
                self.plan(self.now, Event::Exited { child, exit: Exit::Failed });
            }
            Action::Lead(child) => self.lead(child),
            Action::Resign(child) => self.resign(child),
            Action::AnnounceStop(child) => self.assert_known(child),
            Action::CloseSlot | Action::WatchCanary => {}
            Action::AskCanary => self.answer_about_canary(),
            Action::RefuseConnections => {
                self.emptied_at = self.now + self.queue;
                self.supervisor.handle(self.now, Event::ConnectionsRefused);
            }
            Action::CheckQueues if self.now < self.emptied_at => {}
            Action::CheckQueues => self.supervisor.handle(self.now, Event::QueuesEmpty),
            Action::CloseListeners => self.closed = true,
            Action::Hook(_) => {
                self.forget_programs();
                self.hooks += 1;
                if self.failing_hook == Some(self.hooks) {
                    self.supervisor.handle(self.now, Event::HookFailed);
                }
            }
            Action::Exec => self.exec(),
            Action::Log(Remark::Unexpected(event)) => panic!("unexpected: {event:?} in {self:?}"),
            Action::Log(_) => {}
            Action::Finish(verdict) => self.verdict = Some(verdict),
        }
    }

    pub(super) fn spawn(&mut self, child: ChildId, slot: usize) {
        assert!(!self.closed, "{child:?} is started after the listeners were closed");
        let told_after = self.nature_of(child).told_after;
        if told_after.is_zero() {
            return self.tell_start(child, slot);
        }
        self.ordered.insert(child, slot);
        // Which of the answers it is, is decided then.
        self.plan(self.now + told_after, Event::Spawned { child, pid: pid(child) });
    }

    fn nature_of(&self, child: ChildId) -> Nature {
        self.natures.get(&child.0).copied().unwrap_or(self.nature)
    }

    /// A template that has not begun to fork it does not. Otherwise the answer comes later.
    fn withdraw(&mut self, child: ChildId) {
        let told_after = self.nature_of(child).told_after;
        if told_after > ms(100) && self.ordered.remove(&child).is_some() {
            self.supervisor.handle(self.now, Event::Withdrawn(child));
        }
    }

    fn tell_start(&mut self, child: ChildId, slot: usize) {
        let nature = self.nature_of(child);
        if nature.start != Start::Works {
            let transient = nature.start == Start::FailsForNow;
            return self.supervisor.handle(self.now, Event::SpawnFailed { child, transient });
        }
        let known = self.processes.insert(child, Process { slot, nature, terminated: false, killed: false });
        assert!(known.is_none(), "{child:?} is started twice");
        self.spawned += 1;
        let now = self.now;
        let ready = if self.supervisor.is_upgrade_check(child) {
            nature.ready.map(|_| (Duration::ZERO, Event::Checked(child)))
        } else {
            nature.ready.map(|after| (after, Event::Ready(child)))
        };
        let events = [
            ready,
            nature
                .recycle_requested
                .map(|after| (after, Event::RecycleRequested(child, RecycleReason::Size))),
            nature.refuses.map(|after| (after, Event::HandshakeRefused(child))),
            nature.unlinks.map(|after| (after, Event::LinkClosed(child))),
            nature.exit.map(|(after, clean)| (after, Event::Exited { child, exit: exit(clean) })),
        ];
        for (after, event) in events.into_iter().flatten() {
            self.plan(now + after, event);
        }
        self.plan_candidacy(child);
        self.supervisor.handle(now, Event::Spawned { child, pid: pid(child) });
    }

    pub(super) fn terminate(&mut self, child: ChildId) {
        self.assert_known(child);
        let Some(process) = self.processes.get_mut(&child) else { return };
        assert!(!process.terminated && !process.killed, "{child:?} is asked to stop twice");
        process.terminated = true;
        if let Some(after) = process.nature.stop {
            let at = self.now + after;
            self.plan(at, Event::Exited { child, exit: Exit::Clean });
        }
        self.supervisor.handle(self.now, Event::StopOrdered(child));
    }

    pub(super) fn kill(&mut self, child: ChildId) {
        self.assert_known(child);
        let Some(process) = self.processes.get_mut(&child) else { return };
        assert!(!process.killed, "{child:?} is killed twice");
        process.killed = true;
        let at = self.now + DEATH;
        self.plan(at, Event::Exited { child, exit: Exit::Failed });
    }

    pub(super) fn exec(&mut self) {
        if !self.exec_works {
            return self.supervisor.handle(self.now, Event::ExecFailed);
        }
        // Pending actions of the old program would be lost.
        assert_eq!(self.supervisor.actions, [], "lost in the exec");
        assert_eq!(self.supervisor.starts, [], "lost in the exec");
        assert!(self.ordered.is_empty(), "lost in the exec: {:?}", self.ordered);
        let snapshot = self.supervisor.snapshot(self.now);
        self.programs = BTreeSet::from([snapshot.generation]);
        // The snapshot has no kills; the new program kills again if necessary.
        for process in self.processes.values_mut().filter(|process| process.killed) {
            *process = Process { terminated: true, killed: false, ..*process };
        }
        self.supervisor = Supervisor::resume(self.settings, &snapshot, self.moved, self.now);
        self.supervisor.handle(self.now, Event::DeadlinePassed);
    }

    fn answer_about_canary(&mut self) {
        // A request may have ended the hold meanwhile.
        let holds = self.supervisor.canary_groups(self.now).is_some();
        self.answer.into_iter().filter(|_| holds).for_each(|answer| self.supervisor.handle(self.now, answer));
    }

    pub(super) fn request(&mut self, request: Request) {
        self.happen(&[Event::Request(request)]);
    }

    /// Requests an upgrade, and lets the child that checks the new program answer.
    pub(super) fn upgrade(&mut self) {
        self.request(Request::Upgrade);
        self.run(Duration::ZERO);
    }

    /// A child exits now.
    pub(super) fn exit(&mut self, child: u64, clean: bool) {
        self.happen(&[Event::Exited { child: ChildId(child), exit: exit(clean) }]);
    }

    /// Delivers several events in one batch.
    pub(super) fn happen(&mut self, events: &[Event]) {
        for event in events {
            self.plan(self.now, *event);
        }
        self.idle = 0;
        self.step(self.now);
    }

    /// The child of each slot.
    pub(super) fn occupants(&self) -> Vec<Option<u64>> {
        self.supervisor.slots.iter().map(|slot| slot.occupant.map(|child| child.0)).collect()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.supervisor.live_slots().all(|live| live)
    }

    /// The actions since the last call, as text.
    pub(super) fn story(&mut self) -> String {
        let words: Vec<String> =
            self.history[self.told..].iter().map(|(_, action)| describe(action)).collect();
        self.told = self.history.len();
        words.join(" ")
    }

    /// The times of the actions whose text starts with `kind`, in milliseconds since the start.
    pub(super) fn times(&self, kind: &str) -> Vec<u128> {
        let of_kind = self.history.iter().filter(|(_, action)| describe(action).starts_with(kind));
        of_kind.map(|(at, _)| at.duration_since(self.start).as_millis()).collect()
    }
}

fn exit(clean: bool) -> Exit {
    if clean { Exit::Clean } else { Exit::Failed }
}

fn pid(child: ChildId) -> u32 {
    1000 + u32::try_from(child.0).unwrap()
}

/// `start#3@1^2`: child 3 in slot 1, of generation 2.
pub(super) fn describe(action: &Action) -> String {
    match action {
        Action::Spawn { child, slot, generation: 0 } => format!("start#{}@{slot}", child.0),
        Action::Spawn { child, slot, generation } => format!("start#{}@{slot}^{generation}", child.0),
        Action::Withdraw(child) => format!("withdraw#{}", child.0),
        Action::Terminate(child) => format!("stop#{}", child.0),
        Action::StopAfterQueue(child) => format!("stop-after-queue#{}", child.0),
        Action::Kill(child) => format!("kill#{}", child.0),
        Action::KillFailed(child) => format!("kill-failed#{}", child.0),
        Action::Lead(child) => format!("lead#{}", child.0),
        Action::Resign(child) => format!("resign#{}", child.0),
        Action::AnnounceStop(child) => format!("announce-stop#{}", child.0),
        Action::CloseSlot => "close-slot".to_owned(),
        Action::WatchCanary => "watch-canary".to_owned(),
        Action::AskCanary => "ask-canary".to_owned(),
        Action::RefuseConnections => "refuse-connections".to_owned(),
        Action::CheckQueues => "check-queues".to_owned(),
        Action::CloseListeners => "close".to_owned(),
        Action::Exec => "exec".to_owned(),
        Action::Hook(Hook::ChildSpawn(pid)) => format!("started#{}", pid - 1000),
        Action::Hook(Hook::MasterReady(pids)) => {
            let children: Vec<String> = pids.iter().map(|pid| format!("#{}", pid - 1000)).collect();
            format!("master-ready{}", children.concat())
        }
        Action::Hook(Hook::ChildRecover { old, new }) => format!("recovered#{}#{}", old - 1000, new - 1000),
        Action::Log(remark) => format!("{remark:?}"),
        Action::Finish(verdict) => format!("end:{verdict:?}"),
    }
}
