//! The fleet, operated from inside its master: by a service manager's callback, a watchdog, a test.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prefork_options as options;

use crate::error::Error;
use crate::supervisor::{FleetStatus, Request};
use crate::sys::{Reactor, Waker};

/// Operates a fleet from inside its master, from any thread.
///
/// Made by [`Prefork::handle`](crate::Prefork::handle), and cheap to clone. What is asked for before the
/// fleet has started is done right after its start; what is asked for after its end is ignored. In a
/// child the handle does nothing: children are operated by their master.
///
/// Each method returns at once: the log and [`status`](Self::status) tell what became of the request.
#[derive(Clone)]
pub struct FleetHandle {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// What was asked for and not taken yet, in order.
    requests: VecDeque<Request>,
    /// Ends the master's wait, while it runs.
    waker: Option<Waker>,
    status: Option<FleetStatus>,
    over: bool,
}

/// More requests than any program makes between two turns of the master's loop. A further one finds
/// its like among them.
const MOST_REQUESTS: usize = 1024;

impl FleetHandle {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Stops the fleet, as SIGTERM to the master does: children finish what they have accepted, and
    /// [`listen_and_serve`](crate::Prefork::listen_and_serve) returns `Ok`. A second call stops at once,
    /// as a second SIGTERM does.
    pub fn stop(&self) {
        self.request(Request::Stop);
    }

    /// Replaces every child, new before old, as SIGHUP to the master does.
    pub fn reload(&self) {
        self.request(Request::Reload);
    }

    /// Changes the number of children, as repeated SIGTTIN or SIGTTOU to the master do.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if the option `workers` could not have this value.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        let row = &options::WORKERS;
        row.kind.check(&workers.into()).map_err(|problem| Error::BadOption {
            option: row.name.to_owned(),
            value: workers.to_string(),
            expected: row.kind.expected(&problem),
        })?;
        self.request(Request::Resize(workers));
        Ok(())
    }

    /// The state of the fleet after the last turn of the master's loop; `None` before its start and
    /// after its end.
    pub fn status(&self) -> Option<FleetStatus> {
        self.shared().status.clone()
    }

    fn request(&self, request: Request) {
        let mut shared = self.shared();
        if shared.over || shared.requests.len() >= MOST_REQUESTS {
            return;
        }
        shared.requests.push_back(request);
        // The request itself is in memory: a wake-up that coincides with another loses nothing.
        if let Some(waker) = &shared.waker {
            waker.wake();
        }
    }

    /// Whether the program has the handle: else nothing needs to be kept for it.
    pub(super) fn is_used(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// From now on requests wake `reactor`. Costs nothing if the program does not have the handle.
    pub(super) fn connect<K: Ord + Copy + Send + 'static>(&self, reactor: &mut Reactor<K>) -> io::Result<()> {
        if self.is_used() {
            let waker = reactor.waker()?;
            waker.wake();
            self.shared().waker = Some(waker);
        }
        Ok(())
    }

    /// What was asked for since the last call.
    pub(super) fn take_requests(&self) -> VecDeque<Request> {
        if self.is_used() { std::mem::take(&mut self.shared().requests) } else { VecDeque::new() }
    }

    pub(super) fn post(&self, status: FleetStatus) {
        self.shared().status = Some(status);
    }

    /// The fleet has ended.
    pub(super) fn disconnect(&self) {
        *self.shared() = Shared { over: true, ..Shared::default() };
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FleetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetHandle").finish_non_exhaustive()
    }
}
