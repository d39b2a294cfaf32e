//! What the caller's thread and the link thread tell the master's part.

use std::sync::{Mutex, PoisonError};

use crate::sys::Waker;

/// How serving has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The serve function has returned.
    Returned,
    /// The serve function could not be called.
    NotCalled,
    /// The serve function has panicked.
    Panicked,
    /// After a stop no connection is left, and the serve function does not return.
    Drained,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Serving {
    ended: Mutex<Option<Ended>>,
    master: Waker,
}

impl Serving {
    pub(super) fn new(master: Waker) -> Self {
        Self { ended: Mutex::new(None), master }
    }

    /// Notes the end, and wakes the master's part. The first end counts.
    pub(super) fn end(&self, how: Ended) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
        self.master.wake();
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
