//! The master's mind, and nothing but: events go in, actions come out, time is an argument.
//!
//! It knows no process, no clock and no descriptor, so that every history a fleet can have is a
//! unit test that takes microseconds. `master.rs` is its hands.
//!
//! The life of a child:
//!
//! ```text
//!              Spawned          Ready
//!  Starting ───────────▶ Booting ─────▶ Serving
//!     │                   │   │            │
//!     │ SpawnFailed       │   └────────────┤ Terminate (stop, reload, recycling, shrinking)
//!     ▼                   │                ▼
//!   (gone)                │            Stopping ── grace over ──▶ Killed
//!                         │                │                        │
//!                         └── Exited ──────┴────────────────────────┴──▶ (gone)
//! ```
//!
//! Only an exit from Starting, Booting or Serving can be a failure; whoever is Stopping or Killed
//! was asked to go. Whatever is not drawn here is a bug, and says so ([`Remark::Unexpected`]).
//!
//! A stop that somebody asks for begins with the connections that have queued: nobody can connect any
//! more, and the children that serve go on until all are accepted, or for a small part of the grace. No
//! child is started or replaced meanwhile, and a fleet that ends for another reason does not wait.
//!
//! A slot has an occupant, and while it is being replaced a successor as well: the successor
//! becomes the occupant when it is ready, and only then is the old occupant asked to go. An old
//! child that still drains belongs to no slot any more.
//!
//! - `interface.rs`: events, actions, settings
//! - `mod.rs`: the state, and what an operator can ask for
//! - `lifecycle.rs`: children, from spawn to exit
//! - `rollout.rs`: new before old: reload and recycling
//! - `trial.rs`: another program in the master's own process
//! - `status.rs`: the fleet as others see it
//! - `policy.rs`: how many failures, how long a delay

mod interface;
mod lifecycle;
mod policy;
mod rollout;
mod status;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub(crate) use interface::{Action, ChildId, Event, Hook, Remark, Request, Settings, Verdict};
pub(crate) use policy::RecoverPolicy;
use policy::{FailureLog, LOOK, patience};
use rollout::Rollout;
pub use status::{ChildState, ChildStatus, FleetState, FleetStatus};
pub(crate) use trial::{ChildSnapshot, SlotRole, Snapshot};

#[derive(Debug)]
struct Child {
    slot: usize,
    generation: u32,
    pid: Option<u32>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Booting { until: Instant },
    Serving { since: Instant },
    Stopping { until: Instant },
    Killed { unready: bool },
}

/// A numbered place in the fleet.
#[derive(Debug, Default)]
struct Slot {
    occupant: Option<ChildId>,
    /// Who is to take over when it is ready.
    successor: Option<ChildId>,
    respawn_at: Option<Instant>,
    /// When the occupant is too old.
    recycle_at: Option<Instant>,
    /// Whether the occupant is too old or too large.
    recycle_requested: bool,
    /// Deaths in a row before ready.
    strikes: u32,
    /// Whether the last child was ready for a moment only.
    flickered: bool,
    /// Whom the next occupant replaces after a failure.
    predecessor: Option<u32>,
    /// Which program the occupant runs, and the next one if it fails.
    generation: u32,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Running,
    /// Asked to stop, but still accepting for the load balancer's sake.
    StopDelay {
        until: Instant,
    },
    /// Accepting what has queued, while nobody can connect any more.
    Emptying {
        since: Instant,
        until: Instant,
        look_at: Instant,
    },
    Stopping {
        verdict: Verdict,
        at_once: bool,
    },
    Finished,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Supervisor {
    settings: Settings,
    slots: Vec<Slot>,
    children: BTreeMap<ChildId, Child>,
    failures: FailureLog,
    rollout: Rollout,
    actions: VecDeque<Action>,
    mode: Mode,
    /// Whether every slot had a ready child at some time, in this program or in the one before it.
    started: bool,
    /// Whether `on_master_ready` has been called.
    announced: bool,
    /// Whether somebody asked for the end of a fleet that was ending by itself.
    asked: bool,
    next_id: u64,
}

impl Supervisor {
    /// A supervisor whose first actions fill every slot.
    pub(crate) fn new(settings: Settings) -> Self {
        let mut supervisor = Self::empty(settings);
        for _ in 0..settings.workers {
            supervisor.add_slot();
        }
        supervisor
    }

    fn empty(settings: Settings) -> Self {
        Self {
            settings,
            slots: Vec::new(),
            children: BTreeMap::new(),
            failures: FailureLog::new(settings.recover),
            rollout: Rollout::default(),
            actions: VecDeque::new(),
            mode: Mode::Running,
            started: false,
            announced: false,
            asked: false,
            next_id: 0,
        }
    }

    /// The next thing to do, if there is one.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        // The exec comes last: whatever else was decided would be lost in it.
        self.actions.pop_front().or_else(|| self.is_proven().then_some(Action::Exec))
    }

    /// When `DeadlinePassed` is wanted, unless something else happens first.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let slots = self.slots.iter().flat_map(|slot| [slot.respawn_at, slot.recycle_at]).flatten();
        let children = self.children.values().filter_map(|child| match child.phase {
            Phase::Booting { until } | Phase::Stopping { until } => Some(until),
            Phase::Starting | Phase::Serving { .. } | Phase::Killed { .. } => None,
        });
        let mode = match self.mode {
            Mode::StopDelay { until } => Some(until),
            Mode::Emptying { until, look_at, .. } => Some(until.min(look_at)),
            Mode::Running | Mode::Stopping { .. } | Mode::Finished => None,
        };
        slots.chain(children).chain(mode).min()
    }

    /// Whether every slot had a ready child at some time.
    pub(crate) fn has_been_whole(&self) -> bool {
        self.announced
    }

    /// How many slots there are.
    pub(crate) fn fleet_size(&self) -> usize {
        self.slots.len()
    }

    /// Which slots have a child that takes connections.
    pub(crate) fn live_slots(&self) -> impl Iterator<Item = bool> {
        (0..self.slots.len()).map(|slot| self.is_live(slot))
    }

    fn is_live(&self, slot: usize) -> bool {
        self.slots.get(slot).and_then(|slot| slot.occupant).is_some_and(|id| self.is_serving(id))
    }

    /// Whether the fleet was told to stop, but still serves.
    pub(crate) fn in_stop_delay(&self) -> bool {
        matches!(self.mode, Mode::StopDelay { .. })
    }

    /// Takes note of what happened at `now`.
    pub(crate) fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Spawned { child, pid } => self.on_spawned(now, event, child, pid),
            Event::SpawnFailed { child, transient } => self.on_spawn_failed(now, event, child, transient),
            Event::Ready(child) => self.on_ready(now, event, child),
            Event::RecycleRequested(child) => self.recycle(child),
            Event::Exited { child, clean } => self.on_exited(now, event, child, clean),
            Event::HandshakeRefused(child) => self.on_handshake_refused(now, event, child),
            Event::HookFailed => self.stop(now, Verdict::HookFailed),
            Event::ExecFailed => self.abort_upgrade(now),
            Event::QueuesEmpty => self.stop_waiting(now),
            Event::Request(request) => self.on_request(now, request),
            Event::DeadlinePassed => self.on_deadline(now),
        }
        self.advance_rollout();
        if !self.somebody_serves() {
            self.stop_waiting(now);
        }
        self.finish_if_empty();
    }

    fn on_request(&mut self, now: Instant, request: Request) {
        match (request, self.mode) {
            (Request::Stop, Mode::Running) if !self.settings.stop_delay.is_zero() => self.leave(now),
            (Request::Stop, Mode::Running) => self.stop_in_order(now),
            // A fleet that was already ending by itself ends as gracefully as it would have.
            (Request::Stop, Mode::Stopping { verdict, .. }) if verdict != Verdict::Stopped && !self.asked => {
                self.asked = true;
                self.log(Remark::Stopping);
            }
            (
                Request::Stop | Request::Quit,
                Mode::Running | Mode::StopDelay { .. } | Mode::Emptying { .. } | Mode::Stopping { .. },
            ) => {
                self.log(Remark::StoppingAtOnce);
                if !matches!(self.mode, Mode::Stopping { .. }) {
                    self.end(now, Verdict::Stopped);
                }
                self.kill_all();
            }
            (Request::Reload, Mode::Running) => self.reload(now),
            (Request::Upgrade, Mode::Running) => self.begin_upgrade(now),
            (Request::Grow, Mode::Running) => self.resize(now, self.slots.len() + 1),
            (Request::Shrink, Mode::Running) => self.resize(now, self.slots.len() - 1),
            (Request::Resize(to), Mode::Running) => self.resize(now, to),
            // A fleet that is on its way out stays as it is.
            (
                Request::Reload | Request::Upgrade | Request::Grow | Request::Shrink | Request::Resize(_),
                _,
            )
            | (_, Mode::Finished) => {}
        }
    }

    /// Goes on serving for a while, although a stop was asked for.
    fn leave(&mut self, now: Instant) {
        // The new program would not know that it is to leave.
        self.abort_upgrade(now);
        let delay = self.settings.stop_delay;
        self.mode = Mode::StopDelay { until: deadline(now, delay) };
        self.log(Remark::StoppingIn(delay));
        let serving = self
            .children
            .iter()
            .filter(|(_, child)| matches!(child.phase, Phase::Booting { .. } | Phase::Serving { .. }));
        self.actions.extend(serving.map(|(id, _)| Action::AnnounceStop(*id)));
    }

    /// Begins to stop as somebody asked for it: whoever has connected by now is accepted first, by the
    /// children that serve.
    fn stop_in_order(&mut self, now: Instant) {
        self.log(Remark::Stopping);
        let patience = patience(self.settings.grace);
        if patience.is_zero() || !self.somebody_serves() {
            return self.stop(now, Verdict::Stopped);
        }
        self.mode =
            Mode::Emptying { since: now, until: deadline(now, patience), look_at: deadline(now, LOOK) };
        self.rollout.cancel();
        self.withdraw_plans();
        self.actions.push_back(Action::RefuseConnections);
        self.actions.push_back(Action::CheckQueues);
        for id in self.ids() {
            if !self.is_serving(id) {
                self.terminate(now, id);
            }
        }
    }

    /// Waits for the queues no longer. It was a part of the grace, but however late this is (the machine
    /// may have been asleep), no more of it than was meant for them.
    fn stop_waiting(&mut self, now: Instant) {
        if let Mode::Emptying { since, .. } = self.mode {
            let earliest = now.checked_sub(patience(self.settings.grace));
            self.end(earliest.map_or(since, |earliest| earliest.max(since)), Verdict::Stopped);
        }
    }

    fn somebody_serves(&self) -> bool {
        self.children.keys().any(|id| self.is_serving(*id))
    }

    /// Begins to stop, for the first reason given.
    fn stop(&mut self, now: Instant, verdict: Verdict) {
        if self.is_active() {
            self.end(now, verdict);
        }
    }

    /// Asks every child to stop. Their grace counts from `since`.
    fn end(&mut self, since: Instant, verdict: Verdict) {
        self.mode = Mode::Stopping { verdict, at_once: false };
        self.rollout.cancel();
        self.withdraw_plans();
        self.actions.push_back(Action::CloseListeners);
        for id in self.ids() {
            self.terminate(since, id);
        }
    }

    fn resize(&mut self, now: Instant, to: usize) {
        let from = self.slots.len();
        if to == from || !(1..=self.settings.most_workers).contains(&to) {
            return self.log(Remark::NotResized(from));
        }
        self.log(Remark::Resized { from, to });
        for _ in from..to {
            self.add_slot();
        }
        for _ in to..from {
            self.remove_slot(now);
        }
        self.announce_if_whole();
    }

    fn add_slot(&mut self) {
        let slot = self.slots.len();
        self.slots.push(Slot { generation: self.rollout.settled, ..Slot::default() });
        self.spawn_occupant(slot);
        self.include(slot);
    }

    /// Takes the last slot away; its children finish what they have accepted.
    fn remove_slot(&mut self, now: Instant) {
        self.slots.pop();
        let last = self.slots.len();
        for id in self.ids() {
            if self.children.get(&id).is_some_and(|child| child.slot == last) {
                self.retire(now, id);
            }
        }
        self.actions.push_back(Action::CloseSlot);
    }

    fn finish_if_empty(&mut self) {
        match self.mode {
            Mode::Stopping { verdict, .. } if self.children.is_empty() => {
                self.mode = Mode::Finished;
                self.actions.push_back(Action::Finish(verdict));
            }
            _ => {}
        }
    }

    /// Whether slots are to be kept filled.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::StopDelay { .. })
    }

    fn is_serving(&self, id: ChildId) -> bool {
        self.children.get(&id).is_some_and(|child| matches!(child.phase, Phase::Serving { .. }))
    }

    fn ids(&self) -> Vec<ChildId> {
        self.children.keys().copied().collect()
    }

    fn log(&mut self, remark: Remark) {
        self.actions.push_back(Action::Log(remark));
    }

    fn unexpected(&mut self, event: Event) {
        self.log(Remark::Unexpected(event));
    }
}

/// A point in time so far away that the clock cannot name it is never reached; a year will do.
fn deadline(now: Instant, delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    now.checked_add(delay).unwrap_or_else(|| now + YEAR)
}
