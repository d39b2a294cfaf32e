//! Requests of operators, according to what the fleet is doing.

use std::time::Instant;

use super::{CanaryChoice, ChangeResult, Mode, Remark, Request, SAME_STOP, Supervisor, Tally, Verdict};

impl Supervisor {
    pub(super) fn on_request(&mut self, now: Instant, request: Request) {
        let first_stop = match (request, self.stop_requested_at) {
            (Request::Stop, Some(first)) if now.duration_since(first) < SAME_STOP => return,
            (Request::Stop, None) => {
                self.stop_requested_at = Some(now);
                true
            }
            _ => false,
        };
        match (request, self.mode) {
            (Request::Stop, Mode::Running) if !self.settings.stop_delay.is_zero() => {
                self.begin_stop_delay(now)
            }
            (Request::Stop, Mode::Running) => self.stop_gracefully(now),
            // A fleet that was already ending by itself ends as gracefully as it would have.
            (Request::Stop, Mode::Stopping { verdict, .. }) if verdict != Verdict::Stopped && first_stop => {
                self.log(Remark::Stopping);
            }
            (
                Request::Stop | Request::Quit,
                Mode::Running | Mode::StopDelay { .. } | Mode::DrainQueues { .. } | Mode::Stopping { .. },
            ) => {
                self.log(Remark::StoppingAtOnce);
                if !matches!(self.mode, Mode::Stopping { .. }) {
                    self.end(now, Verdict::Stopped);
                }
                self.kill_all();
            }
            (Request::Reload, Mode::Running) => self.reload(now, CanaryChoice::default()),
            (Request::ReloadWith(choice), Mode::Running) => self.reload(now, choice),
            (Request::Promote, Mode::Running) => self.promote_canary(now),
            (Request::Rollback, Mode::Running) => self.request_rollback(now),
            (Request::Upgrade, Mode::Running) => self.begin_upgrade(now),
            (Request::Grow, Mode::Running) => self.resize(now, self.slots.len() + 1),
            (Request::Shrink, Mode::Running) => self.resize(now, self.slots.len() - 1),
            (Request::Resize(to), Mode::Running) => self.resize(now, to),
            // A fleet that stops is not changed any more.
            (
                Request::Reload
                | Request::ReloadWith(_)
                | Request::Promote
                | Request::Rollback
                | Request::Upgrade
                | Request::Grow
                | Request::Shrink
                | Request::Resize(_),
                _,
            )
            | (_, Mode::Finished) => {}
        }
    }

    pub(super) fn on_refused(&mut self, request: Request) {
        match request {
            Request::Reload | Request::ReloadWith(_) => {
                self.totals.count(Tally::Reload(ChangeResult::Refused))
            }
            Request::Upgrade => self.totals.count(Tally::Upgrade(ChangeResult::Refused)),
            Request::Stop
            | Request::Quit
            | Request::Promote
            | Request::Rollback
            | Request::Grow
            | Request::Shrink
            | Request::Resize(_) => {}
        }
    }
}
