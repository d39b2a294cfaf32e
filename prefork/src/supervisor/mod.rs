//! The decisions of the master: events in, actions out, time as an argument.
//!
//! This module knows no process, no clock and no descriptor, so that any history of a fleet can be a
//! unit test that takes microseconds. The driver in `master/` carries the actions out.
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
//! Only an exit from Starting, Booting or Serving can be a failure; a child in Stopping or Killed was
//! asked to stop. A child in Booting or Serving that closes its link to the master and lives on is killed,
//! and that is a failure: it could neither be asked to stop nor notice the master's death. A transition that
//! is not drawn here is a bug, and is logged ([`Remark::Unexpected`]).
//!
//! A requested stop begins with the queued connections: new ones are refused, and the serving children
//! go on until the queues are empty, or for a fifth of the grace. No child is started or replaced
//! meanwhile. A fleet that ends for another reason does not wait for the queues.
//!
//! A slot has an occupant and, while that is being replaced, a successor: the successor becomes the
//! occupant when it is ready, and only then is the old occupant asked to stop. A child that drains
//! belongs to no slot any more.
//!
//! - `interface.rs`: events, actions, settings
//! - `mod.rs`: the state
//! - `children.rs`, `slots.rs`: what is known of each
//! - `sums.rs`: what is known of all of them, without a walk
//! - `requests.rs`: the requests of operators
//! - `settings.rs`: other settings
//! - `size.rs`: the number of slots
//! - `stop.rs`: the stop of the fleet
//! - `starts.rs`: the start of a child
//! - `lifecycle.rs`: children, from their start to their exit; how an exit becomes a replacement
//! - `leader.rs`: the one child that does what is done once in a fleet
//! - `rollout.rs`: replacement, new before old: reload and recycling
//! - `canary.rs`: a reload that holds after some children, and its rollback
//! - `trial.rs`: upgrade: another program in the master's own process
//! - `templates.rs`: processes that fork children
//! - `status.rs`: the state that observers see
//! - `totals.rs`: what was counted
//! - `policy.rs`: number of failures, length of delays

mod canary;
mod children;
mod interface;
mod leader;
mod lifecycle;
mod policy;
mod requests;
mod rollout;
mod settings;
mod size;
mod slots;
mod starts;
mod status;
mod stop;
mod sums;
mod templates;
#[cfg(test)]
mod tests;
mod totals;
mod trial;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use children::{Child, Children, Phase};
pub(crate) use interface::{
    Action, CanaryChoice, ChildId, Event, Exit, Hook, NotHeld, RecycleReason, Remark, Request,
    RollbackReason, Settings, Verdict,
};
use leader::Leader;
pub(crate) use leader::LeaderSnapshot;
use policy::FailureLog;
pub(crate) use policy::{RecoverPolicy, SAME_STOP};
use rollout::Rollout;
use slots::{Slot, Slots};
pub(crate) use status::{ChangeKind, ChangeStatus};
pub use status::{ChildState, ChildStatus, FleetState, FleetStatus, HoldStatus, WaitingSlot};
pub(crate) use templates::{
    Order, Refusal, TemplateAction, TemplateId, TemplateRemark, TemplateState, Templates,
};
#[cfg(test)]
pub(crate) use tests::settings;
pub(crate) use totals::{ChangeResult, FailureCause, FleetTotals, StartReason, Tally};
pub(crate) use trial::{ChildSnapshot, SlotRole, Snapshot};

#[derive(Debug, Clone, Copy)]
enum Mode {
    Running,
    /// Asked to stop, but still accepting, for load balancers that notice late.
    StopDelay {
        until: Instant,
    },
    /// Accepting what is queued, while new connections are refused.
    DrainQueues {
        since: Instant,
        until: Instant,
        check_at: Instant,
    },
    Stopping {
        verdict: Verdict,
        at_once: bool,
    },
    Finished,
}

/// See the [module](self).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Supervisor {
    settings: Settings,
    slots: Slots,
    children: Children,
    failures: FailureLog,
    totals: FleetTotals,
    rollout: Rollout,
    leader: Leader,
    actions: VecDeque<Action>,
    /// The starts of children, which come after all others. Events may come between them.
    starts: VecDeque<Order>,
    mode: Mode,
    /// Whether every slot had a ready child at some time, in this program or its predecessor.
    started: bool,
    /// Whether `on_master_ready` has been called.
    ready_announced: bool,
    /// Since when no child serves.
    none_ready_since: Option<Instant>,
    /// When a stop was requested for the first time.
    stop_requested_at: Option<Instant>,
    next_id: u64,
}

impl Supervisor {
    /// A supervisor whose first actions fill every slot.
    pub(crate) fn new(settings: Settings) -> Self {
        let mut supervisor = Self::empty(settings);
        for _ in 0..settings.workers {
            supervisor.add_slot(None);
        }
        supervisor
    }

    fn empty(settings: Settings) -> Self {
        Self {
            settings,
            slots: Slots::new(),
            children: Children::new(),
            failures: FailureLog::new(settings.recover),
            totals: FleetTotals::default(),
            rollout: Rollout::default(),
            leader: Leader::default(),
            actions: VecDeque::new(),
            starts: VecDeque::new(),
            mode: Mode::Running,
            started: false,
            ready_announced: false,
            none_ready_since: None,
            stop_requested_at: None,
            next_id: 0,
        }
    }

    /// The next thing to do, if there is one. A start comes when nothing else is left, so that the hooks of one child
    /// are called before the next child is started.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        // After all events of a turn: one that asks and one that resigns in the same turn fit together.
        self.settle_leader();
        let start = |Order { child, slot, generation }| Action::Spawn { child, slot, generation };
        let next = self.actions.pop_front().or_else(|| self.starts.pop_front().map(start));
        // The exec comes last, because it drops all other actions.
        next.or_else(|| self.trial_is_ready().then_some(Action::Exec))
    }

    /// Whether only starts of children are left to do.
    pub(crate) fn waits_with_starts(&self) -> bool {
        self.actions.is_empty() && !self.starts.is_empty()
    }

    /// When `DeadlinePassed` is due, unless another event comes first.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let mode = match self.mode {
            Mode::StopDelay { until } => Some(until),
            Mode::DrainQueues { until, check_at, .. } => Some(until.min(check_at)),
            Mode::Running | Mode::Stopping { .. } | Mode::Finished => None,
        };
        let of_all =
            [self.slots.first_deadline(), self.children.first_deadline(), mode, self.canary_deadline()];
        of_all.into_iter().flatten().min()
    }

    /// Whether a deadline had passed at this time.
    pub(crate) fn is_due(&self, at: Instant) -> bool {
        self.next_deadline().is_some_and(|deadline| deadline <= at)
    }

    /// Whether `on_master_ready` was called: every slot had a ready child, after an upgrade one of this
    /// program.
    pub(crate) fn has_announced_ready(&self) -> bool {
        self.ready_announced
    }

    /// What was counted so far.
    pub(crate) fn totals(&self) -> &FleetTotals {
        &self.totals
    }

    /// Number of slots.
    pub(crate) fn fleet_size(&self) -> usize {
        self.slots.len()
    }

    /// Number of children, those that stop included.
    pub(crate) fn number_of_children(&self) -> usize {
        self.children.len()
    }

    /// Which slots have a child that takes connections.
    pub(crate) fn live_slots(&self) -> impl Iterator<Item = bool> {
        (0..self.slots.len()).map(|slot| self.is_live(slot))
    }

    fn is_live(&self, slot: usize) -> bool {
        self.slots.get(slot).and_then(|slot| slot.occupant).is_some_and(|id| self.is_serving(id))
    }

    /// Whether a stop was requested and the fleet still serves.
    pub(crate) fn in_stop_delay(&self) -> bool {
        matches!(self.mode, Mode::StopDelay { .. })
    }

    /// Handles an event that happened at `now`.
    pub(crate) fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Spawned { child, pid } => self.on_spawned(now, event, child, pid),
            Event::SpawnFailed { child, transient } => self.on_spawn_failed(now, event, child, transient),
            Event::TemplateReady { generation } => self.on_template_ready(now, generation),
            Event::Withdrawn(child) => self.on_withdrawn(now, event, child),
            Event::Ready(child) => self.on_ready(now, event, child),
            Event::RecycleRequested(child, reason) => self.recycle(now, child, reason),
            Event::Exited { child, exit } => self.on_exited(now, event, child, exit),
            Event::HandshakeRefused(child) => self.on_handshake_refused(now, event, child),
            Event::LinkClosed(child) => self.on_link_closed(now, event, child),
            Event::LinkAbused(child) => self.on_link_abused(event, child),
            Event::Candidate(child) => self.on_candidate(event, child),
            Event::Resigned(child) => self.on_resigned(child),
            Event::StopOrdered(child) => self.on_stop_ordered(now, child),
            Event::ConnectionsRefused => self.on_connections_refused(now),
            Event::Hangs(child) => self.note_failing(child, FailureCause::Hang),
            Event::HookFailed => self.stop(now, Verdict::HookFailed),
            Event::Checked(child) => self.on_checked(now, child),
            Event::CanaryRefused => self.on_canary_refused(now),
            Event::UpgradeRefused => self.upgrade_failed(now, None),
            Event::ExecFailed => self.upgrade_failed(now, Some(Remark::UpgradeAborted)),
            Event::QueuesEmpty => self.finish_draining_queues(now),
            Event::SettingsChanged(settings) => self.change_settings(now, settings),
            Event::Request(request) => self.on_request(now, request),
            Event::Refused(request) => self.on_refused(request),
            Event::DeadlinePassed if !self.is_due(now) => {}
            Event::DeadlinePassed => self.on_deadline(now),
        }
        self.advance_rollout(now);
        if self.has_serving_child() {
            self.none_ready_since = None;
        } else {
            self.none_ready_since.get_or_insert(now);
            self.finish_draining_queues(now);
        }
        self.finish_if_empty();
    }

    fn has_serving_child(&self) -> bool {
        self.children.serving() > 0
    }

    /// Whether every slot has a child that takes connections.
    fn all_slots_live(&self) -> bool {
        // The count alone does not tell: a trial child is in it, which occupies no slot.
        self.children.serving() >= self.slots.len() && self.live_slots().all(|live| live)
    }

    /// Whether the fleet can be reloaded, upgraded and changed: it was not asked to stop.
    pub(crate) fn takes_changes(&self) -> bool {
        matches!(self.mode, Mode::Running)
    }

    /// Whether slots are to be kept filled.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::StopDelay { .. })
    }

    fn is_serving(&self, id: ChildId) -> bool {
        self.children.get(id).is_some_and(Child::is_serving)
    }

    fn log(&mut self, remark: Remark) {
        self.actions.push_back(Action::Log(remark));
    }

    fn unexpected(&mut self, event: Event) {
        self.log(Remark::Unexpected(event));
    }
}

/// The time after a delay. One that is too far away for the clock is replaced by a year from now.
fn deadline(now: Instant, delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    now.checked_add(delay).unwrap_or_else(|| now + YEAR)
}
