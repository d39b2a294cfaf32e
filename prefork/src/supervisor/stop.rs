//! The stop of the fleet: the stop delay, the queued connections, and then every child.

use std::time::Instant;

use super::policy::{QUEUE_CHECK_INTERVAL, queue_wait};
use super::{Action, ChangeResult, Mode, Phase, Remark, Supervisor, Verdict, deadline};

impl Supervisor {
    /// Goes on serving for the stop delay.
    pub(super) fn begin_stop_delay(&mut self, now: Instant) {
        // The new program would not know of the stop.
        self.abort_upgrade(now);
        let delay = self.settings.stop_delay;
        self.mode = Mode::StopDelay { until: deadline(now, delay) };
        self.log(Remark::StoppingIn(delay));
        let serving = self
            .children
            .iter()
            .filter(|(_, child)| matches!(child.phase, Phase::Booting { .. } | Phase::Serving { .. }));
        self.actions.extend(serving.map(|(id, _)| Action::AnnounceStop(id)));
    }

    /// Begins a requested stop: the serving children first accept the connections made so far.
    pub(super) fn stop_gracefully(&mut self, now: Instant) {
        self.log(Remark::Stopping);
        let queue_wait = queue_wait(self.settings.grace);
        if queue_wait.is_zero() || !self.has_serving_child() {
            return self.stop(now, Verdict::Stopped);
        }
        self.mode = Mode::DrainQueues {
            since: now,
            until: deadline(now, queue_wait),
            check_at: deadline(now, QUEUE_CHECK_INTERVAL),
        };
        self.cancel_rollout(ChangeResult::Cancelled);
        self.withdraw_plans();
        self.actions.push_back(Action::RefuseConnections);
        self.actions.push_back(Action::CheckQueues);
        for id in self.children.ids() {
            if !self.is_serving(id) {
                self.terminate(now, id);
            }
        }
    }

    /// However late that was done, the children have the whole wait to accept what is queued.
    pub(super) fn on_connections_refused(&mut self, now: Instant) {
        let least = deadline(now, queue_wait(self.settings.grace));
        if let Mode::DrainQueues { until, .. } = &mut self.mode {
            *until = least.max(*until);
        }
    }

    /// Stops waiting for the queues. The wait counts towards the grace, but for at most the time that was
    /// planned, however late this is called (the machine may have been suspended).
    pub(super) fn finish_draining_queues(&mut self, now: Instant) {
        if let Mode::DrainQueues { since, .. } = self.mode {
            let earliest = now.checked_sub(queue_wait(self.settings.grace));
            self.end(earliest.map_or(since, |earliest| earliest.max(since)), Verdict::Stopped);
        }
    }

    /// Begins to stop. The first verdict counts.
    pub(super) fn stop(&mut self, now: Instant, verdict: Verdict) {
        if self.is_active() {
            self.end(now, verdict);
        }
    }

    /// Asks every child to stop. The grace starts at `since`.
    pub(super) fn end(&mut self, since: Instant, verdict: Verdict) {
        self.mode = Mode::Stopping { verdict, at_once: false };
        self.cancel_rollout(ChangeResult::Cancelled);
        self.withdraw_plans();
        self.actions.push_back(Action::CloseListeners);
        for id in self.children.ids() {
            self.terminate(since, id);
        }
    }

    pub(super) fn finish_if_empty(&mut self) {
        match self.mode {
            Mode::Stopping { verdict, .. } if self.children.is_empty() => {
                self.mode = Mode::Finished;
                self.actions.push_back(Action::Finish(verdict));
            }
            _ => {}
        }
    }
}
