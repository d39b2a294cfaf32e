//! The fleet, operated from inside its master.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prefork_options::{self as options, Kind};

use crate::error::Error;
use crate::supervisor::{CanaryChoice, FleetState, FleetStatus, Request, SAME_STOP};
use crate::sys::{Reactor, Waker};

/// Operates a fleet from inside its master, from any thread: for a service manager's callback, an
/// autoscaler, an admin endpoint, a test.
///
/// Made by [`Prefork::handle`](crate::Prefork::handle), and cheap to clone. Each method returns at once;
/// the master's own thread carries out the request. The log and [`status`](Self::status) tell the result.
/// A request from before the fleet's start is carried out right after it; one from after its end is
/// ignored. In a child the handle does nothing, because the master operates the children.
#[derive(Clone)]
pub struct FleetHandle {
    state: Arc<Mutex<HandleState>>,
}

struct HandleState {
    /// What the master has not taken yet, in order.
    requests: Vec<Request>,
    /// When the stop among them was requested.
    stop_requested_at: Option<Instant>,
    /// Ends the master's wait, while the fleet runs.
    waker: Option<Waker>,
    status: FleetStatus,
}

impl HandleState {
    fn new(status: FleetStatus) -> Self {
        Self { requests: Vec::new(), stop_requested_at: None, waker: None, status }
    }
}

impl FleetHandle {
    pub(crate) fn new() -> Self {
        let status = FleetStatus::without_children(FleetState::NotStarted);
        Self { state: Arc::new(Mutex::new(HandleState::new(status))) }
    }

    /// Stops the fleet, as SIGTERM to the master does: children finish what they have accepted, and
    /// [`listen_and_serve`](crate::Prefork::listen_and_serve) returns `Ok`. A second call, 250 ms
    /// later or more, stops at once, as a second SIGTERM does.
    pub fn stop(&self) {
        self.request(Request::Stop);
    }

    /// Replaces every child, new before old, as SIGHUP to the master does. A reload that is under way
    /// starts over. Does nothing while the fleet stops.
    pub fn reload(&self) {
        self.request(Request::Reload);
    }

    /// [`reload`](Self::reload) with another [canary](crate::Prefork::canary) than that of the options: the reload
    /// stops after so many children, and holds for this time, without one as long as the options say. With 0 children
    /// it does not hold.
    pub fn reload_with_canary(&self, children: usize, hold: Option<Duration>) {
        self.request(Request::ReloadWith(CanaryChoice { children: Some(children), hold }));
    }

    /// Completes the reload that holds: every child is replaced that is not new. Without one, it is logged, and
    /// nothing happens. See [`canary`](crate::Prefork::canary).
    pub fn promote(&self) {
        self.request(Request::Promote);
    }

    /// Ends the reload that holds: its children are replaced by children of the generation before, new before old.
    /// Without one, it is logged, and nothing happens. See [`canary`](crate::Prefork::canary).
    pub fn rollback(&self) {
        self.request(Request::Rollback);
    }

    /// Changes the number of slots, as repeated SIGTTIN or SIGTTOU to the master do: new slots are added
    /// at the end, and surplus ones are removed there, whose children finish what they have accepted. Of
    /// several calls in a row the last one counts. Does nothing while the fleet stops.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] for a number that is not from 1 to 8192. Then nothing happens.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        // A fleet with children cannot become a process without, nor the other way round.
        let sizes = Kind::Count(1, u64::from(options::WORKERS_MAX));
        sizes.check(&workers.into()).map_err(|problem| Error::BadOption {
            option: options::WORKERS.name.to_owned(),
            value: workers.to_string(),
            expected: sizes.expected(&problem),
            set_by: None,
        })?;
        self.request(Request::Resize(workers));
        Ok(())
    }

    /// The state of the fleet after the last turn of the master's loop; with more than 64 children it may be 10 µs for
    /// each of them old. A new [`FleetState`] is told before the log and hooks tell of it. Before the start it is
    /// [`FleetState::NotStarted`], after the end [`FleetState::Ended`].
    #[must_use]
    pub fn status(&self) -> FleetStatus {
        self.state().status.clone()
    }

    /// Keeps a request until the master takes it. One that adds nothing to those that are kept is
    /// dropped, which bounds their number.
    fn request(&self, request: Request) {
        let mut shared = self.state();
        if shared.status.state == FleetState::Ended {
            return;
        }
        // The last one of its kind counts.
        match request {
            Request::Resize(_) => shared.requests.retain(|kept| !matches!(kept, Request::Resize(_))),
            Request::ReloadWith(_) => shared.requests.retain(|kept| !matches!(kept, Request::ReloadWith(_))),
            _ => {}
        }
        let request = match (request, shared.stop_requested_at) {
            // The master would not see how much later than the first one it was made.
            (Request::Stop, Some(first)) if first.elapsed() >= SAME_STOP => Request::Quit,
            (Request::Stop, None) => {
                shared.stop_requested_at = Some(Instant::now());
                request
            }
            _ => request,
        };
        if !shared.requests.contains(&request) {
            shared.requests.push(request);
        }
        if let Some(waker) = &shared.waker {
            waker.wake();
        }
    }

    /// From now on requests end the reactor's wait.
    pub(crate) fn connect<K: Ord + Copy + Send + 'static>(&self, reactor: &mut Reactor<K>) -> io::Result<()> {
        let waker = reactor.waker()?;
        // There may be requests from before the start.
        waker.wake();
        self.state().waker = Some(waker);
        Ok(())
    }

    /// The requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        let mut shared = self.state();
        shared.stop_requested_at = None;
        std::mem::take(&mut shared.requests)
    }

    /// Keeps other threads from making requests.
    pub(super) fn hold(&self) -> HeldRequests<'_> {
        HeldRequests(self.state())
    }

    pub(crate) fn post(&self, status: FleetStatus) {
        self.state().status = status;
    }

    fn state(&self) -> MutexGuard<'_, HandleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FleetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetHandle").field("state", &self.state().status.state).finish_non_exhaustive()
    }
}

/// While it lives, a thread that makes a request waits.
pub(super) struct HeldRequests<'a>(MutexGuard<'a, HandleState>);

impl HeldRequests<'_> {
    /// Whether none was made before.
    pub(super) fn is_empty(&self) -> bool {
        self.0.requests.is_empty()
    }
}

/// Tells the handle that the fleet has ended, when it is dropped.
pub(crate) struct EndNotice(pub(crate) Option<FleetHandle>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            let status = FleetStatus::without_children(FleetState::Ended);
            *handle.state() = HandleState::new(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_kept_in_order_and_bounded() {
        let handle = FleetHandle::new();
        for size in 1..=100 {
            handle.reload();
            handle.resize(size).unwrap();
            handle.reload_with_canary(size, None);
            handle.promote();
            handle.stop();
            // So the next one is the same, however slow the machine is.
            handle.state().stop_requested_at = Instant::now().checked_add(1000 * SAME_STOP);
        }
        let last = CanaryChoice { children: Some(100), hold: None };
        assert_eq!(
            handle.take_requests(),
            [
                Request::Reload,
                Request::Promote,
                Request::Stop,
                Request::Resize(100),
                Request::ReloadWith(last)
            ]
        );
        assert_eq!(handle.take_requests(), []);
    }

    #[test]
    fn stop_that_is_made_again_later_stops_at_once_although_none_was_taken() {
        let handle = FleetHandle::new();
        handle.stop();
        handle.state().stop_requested_at = Instant::now().checked_sub(SAME_STOP);
        for _ in 0..100 {
            handle.stop();
        }
        assert_eq!(handle.take_requests(), [Request::Stop, Request::Quit]);
        handle.stop();
        assert_eq!(
            handle.take_requests(),
            [Request::Stop],
            "the supervisor knows when it took the first one"
        );
    }

    #[test]
    fn impossible_size_is_refused() {
        let handle = FleetHandle::new();
        for size in [0, 8193, usize::MAX] {
            let error = handle.resize(size).unwrap_err().to_string();
            assert!(error.starts_with(&format!("workers cannot be `{size}`: expected ")), "{error}");
        }
        assert_eq!(handle.take_requests(), []);
    }

    #[test]
    fn status_tells_that_fleet_has_not_started_or_has_ended() {
        let handle = FleetHandle::new();
        assert_eq!(handle.status().state, FleetState::NotStarted);
        drop(EndNotice(Some(handle.clone())));
        assert_eq!(handle.status().state, FleetState::Ended);
        handle.stop();
        assert_eq!(handle.take_requests(), [], "there is nothing to stop");
    }
}
