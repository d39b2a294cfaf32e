//! Which listening sockets the children hold: kept while children come, change and go, so that nothing has to ask all
//! of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use socket2::Socket;

/// See the [module](self). Clones share one ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holders(Rc<RefCell<Ledger>>);

#[derive(Debug, Default)]
struct Ledger {
    /// By the address of the socket, which nothing else has while it is held.
    sockets: HashMap<*const Socket, Counts>,
    /// How often the set of sockets from which a child accepts has changed.
    changes: u64,
}

/// How many children do what with a socket.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    idle: usize,
    emptying: usize,
    live: usize,
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

/// The sockets that a child holds, from its start to its end.
#[derive(Debug)]
pub(crate) struct HeldSockets {
    sockets: Vec<Weak<Socket>>,
    how: Holding,
    holders: Holders,
}

impl Holders {
    /// Adds a child that holds these. One that is being started has been given its sockets, and holds them.
    pub(crate) fn add(&self, sockets: Vec<Weak<Socket>>, how: Holding) -> HeldSockets {
        let mut ledger = self.0.borrow_mut();
        sockets.iter().for_each(|socket| ledger.change(socket, None, Some(how)));
        HeldSockets { sockets, how, holders: self.clone() }
    }

    /// Whether a child accepts from it, and goes on doing so.
    pub(super) fn is_live(&self, socket: &Arc<Socket>) -> bool {
        self.counts(socket, |counts| counts.live > 0)
    }

    /// Whether a child accepts from it.
    pub(super) fn is_accepted(&self, socket: &Arc<Socket>) -> bool {
        self.counts(socket, |counts| counts.live + counts.emptying > 0)
    }

    /// Whether a child holds it.
    pub(super) fn is_held(&self, socket: &Arc<Socket>) -> bool {
        self.counts(socket, |_| true)
    }

    /// A number that differs once other sockets are [live](Self::is_live).
    pub(super) fn changes(&self) -> u64 {
        self.0.borrow().changes
    }

    fn counts(&self, socket: &Arc<Socket>, are: impl FnOnce(&Counts) -> bool) -> bool {
        self.0.borrow().sockets.get(&Arc::as_ptr(socket)).is_some_and(are)
    }
}

impl Ledger {
    fn change(&mut self, socket: &Weak<Socket>, from: Option<Holding>, to: Option<Holding>) {
        let counts = self.sockets.entry(socket.as_ptr()).or_default();
        let was_live = counts.live > 0;
        to.into_iter().for_each(|to| *counts.of(to) += 1);
        from.into_iter().for_each(|from| *counts.of(from) -= 1);
        self.changes += u64::from(was_live != (counts.live > 0));
        if *counts == Counts::default() {
            self.sockets.remove(&socket.as_ptr());
        }
    }
}

impl Counts {
    fn of(&mut self, how: Holding) -> &mut usize {
        match how {
            Holding::Idle => &mut self.idle,
            Holding::Emptying => &mut self.emptying,
            Holding::Live => &mut self.live,
        }
    }
}

impl HeldSockets {
    pub(crate) fn sockets(&self) -> &[Weak<Socket>] {
        &self.sockets
    }

    pub(crate) fn set(&mut self, how: Holding) {
        let from = std::mem::replace(&mut self.how, how);
        self.change(from, Some(how));
    }

    fn change(&self, from: Holding, to: Option<Holding>) {
        let mut ledger = self.holders.0.borrow_mut();
        self.sockets.iter().for_each(|socket| ledger.change(socket, Some(from), to));
    }
}

impl Drop for HeldSockets {
    fn drop(&mut self) {
        self.change(self.how, None);
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    fn socket() -> Arc<Socket> {
        Arc::new(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
    }

    #[test]
    fn socket_is_held_until_its_last_child_has_ended() {
        let (holders, socket) = (Holders::default(), socket());
        let mut first = holders.add(vec![Arc::downgrade(&socket)], Holding::Idle);
        assert!(holders.is_held(&socket) && !holders.is_accepted(&socket));
        first.set(Holding::Live);
        let second = holders.add(vec![Arc::downgrade(&socket)], Holding::Idle);
        first.set(Holding::Emptying);
        assert!(holders.is_accepted(&socket) && !holders.is_live(&socket));
        drop(first);
        assert!(holders.is_held(&socket) && !holders.is_accepted(&socket));
        drop(second);
        assert!(!holders.is_held(&socket));
        assert!(holders.0.borrow().sockets.is_empty());
    }

    #[test]
    fn replacing_a_child_new_before_old_changes_no_live_socket() {
        let (holders, socket) = (Holders::default(), socket());
        let mut old = holders.add(vec![Arc::downgrade(&socket)], Holding::Live);
        let changes = holders.changes();
        let mut new = holders.add(vec![Arc::downgrade(&socket)], Holding::Idle);
        new.set(Holding::Live);
        old.set(Holding::Idle);
        drop(old);
        assert_eq!(holders.changes(), changes);
        drop(new);
        assert_ne!(holders.changes(), changes);
    }
}
