//! What the service manager has still to be told.
//!
//! Sending never waits: a service manager that does not read its socket must not stop the supervisor. What
//! cannot be sent is kept as the latest state, and sent again later. Changes of state keep their order,
//! because the service manager waits for each: `RELOADING=1`, and then `READY=1`.

use std::io;
use std::time::{Duration, Instant};

use crate::sys::Notice;

/// Delay before the first further attempt. It doubles with each one that fails.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Longest delay between two attempts. A service manager that reads again is told within this time.
const SLOWEST_RETRY: Duration = Duration::from_secs(2);

/// A change of state that the service manager waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateChange {
    Ready,
    Reloading,
    Stopping,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// In their order. At most three: ready, reloading, ready.
    changes: Vec<StateChange>,
    status: Option<String>,
    /// The time until which the service manager is asked to wait.
    extended_until: Option<Instant>,
    watchdog: bool,
    /// Whether something was added since the last attempt.
    is_new: bool,
    retry: Option<Retry>,
}

/// The attempt that follows one that failed.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    delay: Duration,
}

impl Outbox {
    /// Adds a change of state. Earlier ones that it makes meaningless are left out.
    pub(super) fn change(&mut self, change: StateChange) {
        match change {
            StateChange::Ready => {}
            // The last reload is the one that is waited for.
            StateChange::Reloading => {
                let begun = self.changes.iter().position(|change| *change == StateChange::Reloading);
                self.changes.truncate(begun.unwrap_or(self.changes.len()));
            }
            StateChange::Stopping => self.changes.clear(),
        }
        self.changes.push(change);
        self.is_new = true;
    }

    /// Replaces the text for the operator.
    pub(super) fn set_status(&mut self, status: String) {
        self.status = Some(status);
        self.is_new = true;
    }

    /// Asks for time until `until`.
    pub(super) fn extend_until(&mut self, until: Instant) {
        self.extended_until = Some(until);
        self.is_new = true;
    }

    /// Asks for no more time.
    pub(super) fn forget_extension(&mut self) {
        self.extended_until = None;
    }

    /// Says that the master is alive.
    pub(super) fn ping(&mut self) {
        self.watchdog = true;
        self.is_new = true;
    }

    /// When to call [`send`](Self::send) again, if there was no room for something.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry.map(|retry| retry.at)
    }

    /// Sends everything, if there is something new or another attempt is due. `notify` sends one message.
    /// Returns the outcome of an attempt.
    pub(super) fn send(
        &mut self,
        now: Instant,
        notify: impl Fn(&[Notice<'_>]) -> io::Result<()>,
    ) -> Option<io::Result<()>> {
        let is_due = self.is_new || self.retry.is_some_and(|retry| retry.at <= now);
        if !is_due {
            return None;
        }
        self.is_new = false;
        let sent = self.send_all(now, notify);
        // A socket that does not exist is no reason to wake up: the next notice is another attempt.
        let is_full = sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.retry = is_full.then(|| self.next_retry(now));
        Some(sent)
    }

    fn next_retry(&self, now: Instant) -> Retry {
        match self.retry {
            Some(retry) if now < retry.at => retry,
            retry => {
                let delay = retry.map_or(FIRST_RETRY, |retry| (retry.delay * 2).min(SLOWEST_RETRY));
                Retry { at: now + delay, delay }
            }
        }
    }

    /// Each change of state is a message of its own, since the service manager takes one from each. What
    /// belongs to no change goes with the last.
    fn send_all(&mut self, now: Instant, notify: impl Fn(&[Notice<'_>]) -> io::Result<()>) -> io::Result<()> {
        while let [first, _, ..] = self.changes[..] {
            notify(&[first.notice()])?;
            self.changes.remove(0);
        }
        let mut notices: Vec<Notice<'_>> = self.changes.iter().map(|change| change.notice()).collect();
        notices.extend(self.status.as_deref().map(Notice::Status));
        let extension = self.extended_until.map(|until| until.saturating_duration_since(now));
        notices.extend(extension.filter(|time| !time.is_zero()).map(Notice::ExtendTimeout));
        notices.extend(self.watchdog.then_some(Notice::Watchdog));
        if !notices.is_empty() {
            notify(&notices)?;
        }
        *self = Self { retry: self.retry, ..Self::default() };
        Ok(())
    }
}

impl StateChange {
    fn notice(self) -> Notice<'static> {
        match self {
            Self::Ready => Notice::Ready,
            Self::Reloading => Notice::Reloading,
            Self::Stopping => Notice::Stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The messages of one attempt.
    fn sent(outbox: &mut Outbox, now: Instant) -> Vec<String> {
        let messages = RefCell::new(Vec::new());
        let outcome = outbox.send(now, |notices| {
            messages.borrow_mut().push(format!("{notices:?}"));
            Ok(())
        });
        assert!(outcome.is_none_or(|sent| sent.is_ok()));
        messages.into_inner()
    }

    fn refused(outbox: &mut Outbox, now: Instant) -> bool {
        outbox.send(now, |_| Err(io::ErrorKind::WouldBlock.into())).is_some()
    }

    #[test]
    fn unsent_changes_keep_their_order_and_the_last_reload() {
        let mut outbox = Outbox::default();
        let now = Instant::now();
        outbox.change(StateChange::Ready);
        for _ in 0..3 {
            outbox.change(StateChange::Reloading);
            assert!(refused(&mut outbox, now));
            outbox.change(StateChange::Ready);
        }
        outbox.set_status("old".to_owned());
        outbox.set_status("new".to_owned());
        outbox.ping();
        outbox.extend_until(now + Duration::from_secs(1));
        assert_eq!(
            sent(&mut outbox, now),
            ["[Ready]", "[Reloading]", r#"[Ready, Status("new"), ExtendTimeout(1s), Watchdog]"#]
        );
        assert!(sent(&mut outbox, now + SLOWEST_RETRY).is_empty(), "nothing is left");
        assert_eq!(outbox.retry_at(), None);
    }

    #[test]
    fn stop_takes_the_place_of_unsent_changes() {
        let mut outbox = Outbox::default();
        outbox.change(StateChange::Ready);
        outbox.change(StateChange::Reloading);
        outbox.change(StateChange::Stopping);
        assert_eq!(sent(&mut outbox, Instant::now()), ["[Stopping]"]);
    }

    #[test]
    fn attempts_are_repeated_ever_more_slowly_until_one_works() {
        let mut outbox = Outbox::default();
        let start = Instant::now();
        outbox.change(StateChange::Ready);
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..8 {
            assert!(refused(&mut outbox, now));
            assert!(!refused(&mut outbox, now), "no attempt before its time");
            let next = outbox.retry_at().unwrap();
            delays.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(delays, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        // A new notice is an attempt. The time of the next one stays as it is.
        outbox.ping();
        let next = outbox.retry_at();
        let between = now - Duration::from_secs(1);
        assert!(refused(&mut outbox, between));
        assert_eq!(outbox.retry_at(), next);
        assert_eq!(sent(&mut outbox, now), ["[Ready, Watchdog]"]);
    }

    #[test]
    fn missing_socket_is_tried_again_with_the_next_notice_only() {
        let mut outbox = Outbox::default();
        let now = Instant::now();
        outbox.change(StateChange::Ready);
        assert!(outbox.send(now, |_| Err(io::ErrorKind::NotFound.into())).is_some());
        assert_eq!(outbox.retry_at(), None);
        outbox.ping();
        assert_eq!(sent(&mut outbox, now), ["[Ready, Watchdog]"]);
    }

    #[test]
    fn extension_that_is_over_is_not_sent() {
        let mut outbox = Outbox::default();
        let now = Instant::now();
        outbox.extend_until(now);
        assert!(sent(&mut outbox, now).is_empty());
        outbox.extend_until(now + SLOWEST_RETRY);
        outbox.forget_extension();
        assert!(sent(&mut outbox, now).is_empty());
    }
}
