//! The fleet as others see it: the service manager, and whoever asks for its health.

use std::time::{Duration, Instant};

use super::{ChildId, Mode, Phase, Supervisor};

/// What a fleet is at, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FleetState {
    /// Not every slot has had a ready child yet.
    Starting,
    Serving,
    /// Every child is being replaced, or a trial child goes before that.
    Reloading,
    /// It was told to stop, but still accepts.
    StopDelay,
    Stopping,
}

impl FleetState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Reloading => "reloading",
            Self::StopDelay => "stop-delay",
            Self::Stopping => "stopping",
        }
    }
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overview {
    pub(crate) stage: FleetState,
    /// Of the program that the fleet runs, or is about to run.
    pub(crate) generation: u32,
    pub(crate) slots: usize,
    /// How many slots have a child that takes connections.
    pub(crate) ready: usize,
    /// The failures that count now.
    pub(crate) failures: u32,
    /// How long a failure counts; `None`: for the master's life.
    pub(crate) window: Option<Duration>,
    /// When one of them counts no more.
    pub(crate) forgets_at: Option<Instant>,
    /// Every child that has not ended, in the order in which they were started.
    pub(crate) children: Vec<ChildView>,
}

impl Overview {
    /// Whether to send it requests.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.stage, FleetState::Serving | FleetState::Reloading) && self.ready > 0
    }
}

/// One child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChildView {
    pub(crate) slot: usize,
    pub(crate) pid: u32,
    pub(crate) generation: u32,
    pub(crate) state: ChildState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildState {
    Starting,
    Ready,
    Stopping,
}

impl ChildState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

impl Supervisor {
    pub(crate) fn overview(&self, now: Instant) -> Overview {
        let stage = self.stage();
        let (failures, forgets_at) = self.failures.current(now);
        Overview {
            stage,
            generation: if stage == FleetState::Reloading {
                self.rollout.newest
            } else {
                self.rollout.settled
            },
            slots: self.slots.len(),
            ready: self.live_slots().filter(|live| *live).count(),
            failures,
            window: self.settings.recover.window,
            forgets_at,
            children: self.children.keys().filter_map(|id| self.view(*id)).collect(),
        }
    }

    fn stage(&self) -> FleetState {
        match self.mode {
            Mode::Emptying { .. } | Mode::Stopping { .. } | Mode::Finished => FleetState::Stopping,
            Mode::StopDelay { .. } => FleetState::StopDelay,
            Mode::Running if !self.started => FleetState::Starting,
            Mode::Running if self.rollout.is_reloading() || self.rollout.trial.is_some() => {
                FleetState::Reloading
            }
            Mode::Running => FleetState::Serving,
        }
    }

    /// `None` for a child that is not started yet.
    fn view(&self, id: ChildId) -> Option<ChildView> {
        let child = self.children.get(&id)?;
        let state = match child.phase {
            Phase::Starting | Phase::Booting { .. } => ChildState::Starting,
            Phase::Serving { .. } => ChildState::Ready,
            Phase::Stopping { .. } | Phase::Killed { .. } => ChildState::Stopping,
        };
        Some(ChildView { slot: child.slot, pid: child.pid?, generation: child.generation, state })
    }
}
