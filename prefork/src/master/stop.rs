//! A stop that the master's own process asks for, and not its operator.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sys::{Reactor, Waker};

/// Stops a fleet from inside its master: for a service manager's callback, a watchdog, a test.
///
/// Made by [`Prefork::stop_handle`](crate::Prefork::stop_handle). It can be cloned, and used from any
/// thread. In a child it does nothing: children are stopped by their master.
#[derive(Debug, Clone)]
pub struct FleetHandle {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    /// The fleet has not started; it was asked to stop that often.
    Early(u32),
    /// It runs.
    Running(Waker),
    /// It has ended.
    Over,
}

impl FleetHandle {
    pub(crate) fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State::Early(0))) }
    }

    /// Asks the fleet to stop, as a SIGTERM to the master does: children finish what they have
    /// accepted, and [`listen_and_serve`](crate::Prefork::listen_and_serve) returns `Ok`. Asking again
    /// stops at once, as a second SIGTERM does.
    ///
    /// Returns at once. A fleet that has not started stops right after its start; one that has ended
    /// does not mind.
    pub fn stop(&self) {
        match &mut *self.state() {
            State::Early(times) => *times = times.saturating_add(1),
            State::Running(waker) => waker.ask_to_stop(),
            State::Over => {}
        }
    }

    /// From now on `reactor` hears of it. Costs nothing if nobody else has the handle.
    pub(super) fn connect<K: Ord + Copy + Send + 'static>(&self, reactor: &mut Reactor<K>) -> io::Result<()> {
        if Arc::strong_count(&self.state) == 1 {
            return Ok(());
        }
        let mut state = self.state();
        let waker = reactor.waker()?;
        if let State::Early(times) = *state {
            // More than two are no more than two.
            (0..times.min(2)).for_each(|_| waker.ask_to_stop());
        }
        *state = State::Running(waker);
        Ok(())
    }

    /// The fleet has ended.
    pub(super) fn disconnect(&self) {
        *self.state() = State::Over;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
