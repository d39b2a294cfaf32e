//! Which listening sockets the children hold.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use socket2::Socket;

/// See the [module](self). A child that is being started has been given its sockets, and holds them.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    live: HashSet<*const Socket>,
    accepted: HashSet<*const Socket>,
    held: HashSet<*const Socket>,
}

/// What a child does with the sockets that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// It is not ready, or stops.
    Idle,
    /// It accepts what is queued, and then stops.
    Emptying,
    /// It accepts.
    Live,
}

impl Holders {
    /// Adds a child that holds these.
    pub(crate) fn add<'a>(&mut self, sockets: impl IntoIterator<Item = &'a Weak<Socket>>, how: Holding) {
        for socket in sockets {
            self.held.insert(socket.as_ptr());
            if how != Holding::Idle {
                self.accepted.insert(socket.as_ptr());
            }
            if how == Holding::Live {
                self.live.insert(socket.as_ptr());
            }
        }
    }

    /// Whether a child accepts from it, and goes on doing so.
    pub(super) fn is_live(&self, socket: &Arc<Socket>) -> bool {
        self.live.contains(&Arc::as_ptr(socket))
    }

    /// Whether a child accepts from it.
    pub(super) fn is_accepted(&self, socket: &Arc<Socket>) -> bool {
        self.accepted.contains(&Arc::as_ptr(socket))
    }

    /// Whether a child holds it.
    pub(super) fn is_held(&self, socket: &Arc<Socket>) -> bool {
        self.held.contains(&Arc::as_ptr(socket))
    }
}
