//! The state of the fleet as observers see it: the service manager and the health endpoint.

use std::fmt;
use std::time::{Duration, Instant};

use super::canary::Hold;
use super::rollout::Course;
use super::{Child, ChildId, FleetTotals, Mode, Phase, Slot, Supervisor};

/// The state of a fleet as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FleetState {
    /// The fleet has not started, or this process is not its master.
    NotStarted,
    /// Not every slot has had a ready child yet.
    Starting,
    /// Every slot had a ready child, and no change is under way.
    Serving,
    /// Children are being replaced, by a reload or its rollback, or the trial child of an upgrade starts.
    Reloading,
    /// A reload holds after some children, the canary: see [`FleetStatus::hold`].
    Holding,
    /// The fleet was asked to stop and still accepts, for the time of the option `stop_delay`.
    StopDelay,
    /// Children finish what they have accepted.
    Stopping,
    /// The fleet has ended.
    Ended,
}

impl FleetState {
    /// The state's name, as `/status` tells it: `stop-delay`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "not-started",
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Reloading => "reloading",
            Self::Holding => "holding",
            Self::StopDelay => "stop-delay",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for FleetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of a fleet and of its children; see [`FleetHandle::status`](crate::FleetHandle::status).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetStatus {
    /// The state of the fleet as a whole.
    pub state: FleetState,
    /// The number of reloads and upgrades so far, including one that is under way.
    pub generation: u32,
    /// The number of slots.
    pub slots: usize,
    /// The number of slots whose child accepts connections.
    pub ready: usize,
    /// The number of failures that count now.
    pub failures: u32,
    /// How long a failure counts; `None` is the master's life.
    pub failure_window: Option<Duration>,
    /// Every child that has not ended, in the order of their start.
    pub children: Vec<ChildStatus>,
    /// The slots that wait for their next child, in their order: the last one has failed, or could not be started.
    /// None in a fleet that stops.
    pub waiting: Vec<WaitingSlot>,
    /// The hold of a reload with a canary, while the state is [`FleetState::Holding`].
    pub hold: Option<HoldStatus>,
    /// Whether a child has asked to become the leader.
    pub(crate) elects: bool,
    /// What was counted so far.
    pub(crate) totals: FleetTotals,
    /// When one of the failures counts no more.
    pub(crate) failure_expires_at: Option<Instant>,
    pub(crate) change: Option<ChangeStatus>,
}

/// How the generation of the fleet changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Reload {
        /// Whether it can be taken back as a whole.
        is_revocable: bool,
    },
    Rollback,
    Upgrade,
}

/// A change of the generation that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangeStatus {
    pub(crate) kind: ChangeKind,
    /// The generation that it leads to.
    pub(crate) generation: u32,
    /// The number of slots whose child is of that generation; of a rollback, those that it had to restore.
    pub(crate) replaced: usize,
    /// The number of slots; of a rollback, those that it has to restore.
    pub(crate) of: usize,
}

impl FleetStatus {
    /// Of a fleet that is not running.
    pub(crate) fn without_children(state: FleetState) -> Self {
        Self {
            state,
            generation: 0,
            slots: 0,
            ready: 0,
            failures: 0,
            failure_window: None,
            children: Vec::new(),
            waiting: Vec::new(),
            hold: None,
            elects: false,
            totals: FleetTotals::default(),
            failure_expires_at: None,
            change: None,
        }
    }

    /// Whether the fleet can be sent requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let serves = matches!(self.state, FleetState::Serving | FleetState::Reloading | FleetState::Holding);
        serves && self.ready > 0
    }
}

/// The hold of a reload with a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HoldStatus {
    /// The generation of the new children.
    pub generation: u32,
    /// The number of slots with a new child.
    pub children: usize,
    /// When the hold began.
    pub since: Instant,
    /// When the reload is completed; `None` if that is only on request.
    pub until: Option<Instant>,
}

/// A slot without a child, which is started after a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WaitingSlot {
    /// The slot, from 0.
    pub slot: usize,
    /// The generation of the slot's next child.
    pub generation: u32,
    /// When that is started; `None` if it is not known.
    pub starts_at: Option<Instant>,
}

/// The state of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChildStatus {
    /// The child's slot, from 0.
    pub slot: usize,
    /// The child's process id.
    pub pid: u32,
    /// The generation that the child was started in.
    pub generation: u32,
    /// What the child does.
    pub state: ChildState,
    /// Whether it is the leader; see [`Leadership`](crate::Leadership). At most one child is.
    pub leader: bool,
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildState {
    /// It is not ready yet.
    Starting,
    /// It accepts connections.
    Ready,
    /// It was asked to stop.
    Stopping,
}

impl ChildState {
    /// The state's name, as `/status` tells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Supervisor {
    pub(crate) fn status(&self, now: Instant) -> FleetStatus {
        let state = self.state();
        let (failures, failure_expires_at) = self.failures.current(now);
        FleetStatus {
            state,
            generation: match state {
                FleetState::Reloading | FleetState::Holding => self.rollout.leads_to(),
                _ => self.rollout.settled,
            },
            slots: self.slots.len(),
            ready: self.live_slots().filter(|live| *live).count(),
            failures,
            failure_window: self.settings.recover.window,
            failure_expires_at,
            elects: self.elects(),
            change: self.change(),
            totals: self.totals,
            children: self.children.iter().filter_map(|(id, child)| self.view(id, child)).collect(),
            waiting: self.waiting_slots(),
            hold: self.hold_status(),
        }
    }

    fn change(&self) -> Option<ChangeStatus> {
        let kind = match self.rollout.course {
            _ if self.rollout.upgrade.is_some() => ChangeKind::Upgrade,
            Course::Reloading { .. } | Course::Holding(_) => {
                ChangeKind::Reload { is_revocable: self.can_roll_back() }
            }
            Course::Restoring { .. } => ChangeKind::Rollback,
            Course::Idle => return None,
        };
        let reloaded = || self.slots.iter().filter(|slot| self.is_reloaded(slot)).count();
        let (replaced, of) = match kind {
            ChangeKind::Upgrade => (0, self.slots.len()),
            ChangeKind::Reload { .. } => (reloaded(), self.slots.len()),
            ChangeKind::Rollback => (self.restored_slots(), self.slots.revocable()),
        };
        Some(ChangeStatus { kind, generation: self.rollout.leads_to(), replaced, of })
    }

    /// The state of the fleet as a whole.
    pub(crate) fn state(&self) -> FleetState {
        match self.mode {
            Mode::DrainQueues { .. } | Mode::Stopping { .. } | Mode::Finished => FleetState::Stopping,
            Mode::StopDelay { .. } => FleetState::StopDelay,
            Mode::Running if !self.started => FleetState::Starting,
            Mode::Running if self.rollout.upgrade.is_some() => FleetState::Reloading,
            Mode::Running => match self.rollout.course {
                Course::Idle => FleetState::Serving,
                Course::Holding(_) => FleetState::Holding,
                Course::Reloading { .. } | Course::Restoring { .. } => FleetState::Reloading,
            },
        }
    }

    fn hold_status(&self) -> Option<HoldStatus> {
        let Course::Holding(Hold { since, until, .. }) = self.rollout.course else { return None };
        let children = self.slots.revocable();
        let generation = self.rollout.target;
        let is_told = self.state() == FleetState::Holding;
        is_told.then_some(HoldStatus { generation, children, since, until })
    }

    /// A slot that waits while its replacement starts, as in a reload, is not without a child.
    fn waiting_slots(&self) -> Vec<WaitingSlot> {
        if !self.is_active() {
            return Vec::new();
        }
        let slots = self.slots.iter().enumerate();
        // One that a template is about to fork is no process yet.
        let is_process = |id: ChildId| self.children.get(id).is_some_and(|child| child.pid.is_some());
        let is_empty = |slot: &Slot| ![slot.occupant, slot.successor].into_iter().flatten().any(is_process);
        let waiting = slots.filter(|(_, slot)| is_empty(slot));
        let status = |(slot, Slot { generation, respawn_at, .. }): (usize, &Slot)| WaitingSlot {
            slot,
            generation: *generation,
            starts_at: *respawn_at,
        };
        waiting.map(status).collect()
    }

    /// `None` for a child that has no process yet.
    fn view(&self, id: ChildId, child: &Child) -> Option<ChildStatus> {
        let state = match child.phase {
            Phase::Starting | Phase::Booting { .. } => ChildState::Starting,
            Phase::Serving { .. } => ChildState::Ready,
            Phase::Stopping { .. } | Phase::Killed { .. } => ChildState::Stopping,
        };
        let leader = self.leader_id() == Some(id);
        Some(ChildStatus { slot: child.slot, pid: child.pid?, generation: child.generation, state, leader })
    }
}
