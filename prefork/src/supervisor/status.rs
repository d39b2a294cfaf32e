//! The state of the fleet as observers see it: the service manager and the health endpoint.

use std::fmt;
use std::time::{Duration, Instant};

use super::{ChildId, FleetTotals, Mode, Phase, Slot, Supervisor};

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
    /// Every child is being replaced, or the trial child of an upgrade starts.
    Reloading,
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
    /// Whether a child has asked to become the leader.
    pub(crate) elects: bool,
    /// What was counted so far.
    pub(crate) totals: FleetTotals,
    /// When one of the failures counts no more.
    pub(crate) failure_expires_at: Option<Instant>,
    pub(crate) change: Option<ChangeStatus>,
}

/// A reload or an upgrade that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangeStatus {
    /// Whether it is an upgrade.
    pub(crate) upgrade: bool,
    /// The generation that it leads to.
    pub(crate) generation: u32,
    /// The number of slots whose child is of that generation.
    pub(crate) replaced: usize,
    /// The number of slots.
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
            elects: false,
            totals: FleetTotals::default(),
            failure_expires_at: None,
            change: None,
        }
    }

    /// Whether the fleet can be sent requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, FleetState::Serving | FleetState::Reloading) && self.ready > 0
    }
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
            generation: if state == FleetState::Reloading {
                self.rollout.leads_to()
            } else {
                self.rollout.settled
            },
            slots: self.slots.len(),
            ready: self.live_slots().filter(|live| *live).count(),
            failures,
            failure_window: self.settings.recover.window,
            failure_expires_at,
            elects: self.elects(),
            change: self.change(),
            totals: self.totals,
            children: self.children.keys().filter_map(|id| self.view(*id)).collect(),
        }
    }

    fn change(&self) -> Option<ChangeStatus> {
        let upgrade = self.rollout.upgrade.is_some();
        let is_reloaded = |slot: &&Slot| !upgrade && self.is_reloaded(slot);
        (upgrade || self.rollout.is_reloading()).then(|| ChangeStatus {
            upgrade,
            generation: self.rollout.leads_to(),
            replaced: self.slots.iter().filter(is_reloaded).count(),
            of: self.slots.len(),
        })
    }

    /// The state of the fleet as a whole.
    pub(crate) fn state(&self) -> FleetState {
        match self.mode {
            Mode::DrainQueues { .. } | Mode::Stopping { .. } | Mode::Finished => FleetState::Stopping,
            Mode::StopDelay { .. } => FleetState::StopDelay,
            Mode::Running if !self.started => FleetState::Starting,
            Mode::Running if self.rollout.is_reloading() || self.rollout.upgrade.is_some() => {
                FleetState::Reloading
            }
            Mode::Running => FleetState::Serving,
        }
    }

    /// `None` for a child that has no process yet.
    fn view(&self, id: ChildId) -> Option<ChildStatus> {
        let child = self.children.get(&id)?;
        let state = match child.phase {
            Phase::Starting | Phase::Booting { .. } => ChildState::Starting,
            Phase::Serving { .. } => ChildState::Ready,
            Phase::Stopping { .. } | Phase::Killed { .. } => ChildState::Stopping,
        };
        let leader = self.leader_id() == Some(id);
        Some(ChildStatus { slot: child.slot, pid: child.pid?, generation: child.generation, state, leader })
    }
}
