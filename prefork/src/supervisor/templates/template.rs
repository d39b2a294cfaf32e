//! A template: what it does, and when the next one is started in its place.

use std::time::{Duration, Instant};

use super::{TemplateId, deadline};

/// The delays before a template is started again that could not load, from the first to the longest.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Two templates in a row that were ready for less are not replaced at once: loading takes time and memory.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// A load that takes longer is told once, so that a start does not look as if it hung.
const LONG_LOAD: Duration = Duration::from_secs(10);

/// What a template does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateState {
    /// The process does not run this program yet. Only the driver knows.
    Starting,
    Loading,
    Ready,
    /// It has an order that it has not answered, which takes a moment unless it is stopped.
    Forking,
    /// The last process has ended, or is about to. The next one is started after a delay.
    Waiting,
}

impl TemplateState {
    /// The state's name, as `/status` tells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Forking => "forking",
            Self::Waiting => "waiting",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// With the time at which a long load is told, until then.
    Loading {
        until: Instant,
        tell_at: Option<Instant>,
    },
    Ready {
        ready_since: Instant,
    },
    /// `was_ready` if the last process was. Then a child does not wait as long.
    Waiting {
        again_at: Instant,
        was_ready: bool,
    },
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Template {
    /// Of the present process, or of the last one.
    pub(super) id: TemplateId,
    pub(super) phase: Phase,
    /// Whether a child that waits for it was logged.
    awaited: bool,
    /// The delay before the next process, until it is logged.
    pub(super) unlogged_delay: Option<Duration>,
    /// Of its generation: how many processes in a row have ended before they were ready.
    failures: u32,
    /// Of its generation: how many in a row have ended soon after they were ready.
    short_lives: u32,
}

impl Phase {
    /// It loads from now on, and has this time for it.
    fn loading(now: Instant, timeout: Duration) -> Self {
        let until = deadline(now, timeout);
        let tell_at = Some(deadline(now, LONG_LOAD)).filter(|at| *at < until);
        Self::Loading { until, tell_at }
    }
}

impl Template {
    /// The generation's next template, after the `last`. It has this time to load.
    pub(super) fn new(id: TemplateId, now: Instant, timeout: Duration, last: Option<&Self>) -> Self {
        let (failures, short_lives) = last.map_or((0, 0), |last| (last.failures, last.short_lives));
        Self {
            id,
            phase: Phase::loading(now, timeout),
            awaited: false,
            unlogged_delay: None,
            failures,
            short_lives,
        }
    }

    /// The process exists now.
    pub(super) fn begin_to_load(&mut self, now: Instant, timeout: Duration) {
        if let Phase::Loading { .. } = self.phase {
            self.phase = Phase::loading(now, timeout);
        }
    }

    /// What it does; and when the next one is started, if it waits.
    pub(super) fn state(&self, has_orders: bool) -> (TemplateState, Option<Instant>) {
        match self.phase {
            Phase::Waiting { again_at, .. } => (TemplateState::Waiting, Some(again_at)),
            Phase::Loading { .. } => (TemplateState::Loading, None),
            Phase::Ready { .. } if has_orders => (TemplateState::Forking, None),
            Phase::Ready { .. } => (TemplateState::Ready, None),
        }
    }

    /// When something has to be done about it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { again_at, .. } => Some(again_at),
            Phase::Loading { until, tell_at } => Some(tell_at.unwrap_or(until)),
            Phase::Ready { .. } => None,
        }
    }

    /// Until when it may do what it does, if that is limited.
    pub(super) fn limit(&self) -> Option<Instant> {
        match self.phase {
            Phase::Loading { until, .. } => Some(until),
            Phase::Waiting { .. } | Phase::Ready { .. } => self.deadline(),
        }
    }

    /// Whether it is this process, which lives.
    pub(super) fn is(&self, id: TemplateId) -> bool {
        self.id == id && !matches!(self.phase, Phase::Waiting { .. })
    }

    /// Returns whether a child waits for it from now on.
    pub(super) fn becomes_awaited(&mut self) -> bool {
        !matches!(self.phase, Phase::Ready { .. }) && !std::mem::replace(&mut self.awaited, true)
    }

    /// The time that it has loaded for, if that is long and was not told.
    pub(super) fn becomes_long_load(&mut self, now: Instant) -> Option<Duration> {
        let Phase::Loading { tell_at, .. } = &mut self.phase else { return None };
        tell_at.take_if(|at| *at <= now).map(|_| LONG_LOAD)
    }

    pub(super) fn note_ready(&mut self, now: Instant) {
        self.phase = Phase::Ready { ready_since: now };
        self.failures = 0;
    }

    /// Notes that the process ends. Returns whether the next one is started at once: it was ready, and has not ended
    /// as soon as the one before.
    pub(super) fn note_end(&mut self, now: Instant) -> bool {
        let Phase::Ready { ready_since } = self.phase else { return false };
        let is_short = now.duration_since(ready_since) < SHORT_LIFE;
        self.short_lives = if is_short { self.short_lives.saturating_add(1) } else { 0 };
        self.failures = self.short_lives.saturating_sub(2);
        self.short_lives < 2
    }

    /// Whether a child that is ordered starts the next process. Why a template that was ready has ended need not concern
    /// the next one, and there are delays between the attempts to start a child.
    pub(super) fn starts_when_needed(&self) -> bool {
        matches!(self.phase, Phase::Waiting { was_ready: true, .. })
    }

    /// Waits before the next process, longer each time.
    pub(super) fn wait(&mut self, now: Instant) {
        let was_ready = matches!(self.phase, Phase::Ready { .. });
        let delay = FIRST_DELAY.saturating_mul(1 << self.failures.min(5)).min(LONGEST_DELAY);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { again_at: deadline(now, delay), was_ready };
        self.awaited = false;
        self.unlogged_delay = Some(delay);
    }
}
