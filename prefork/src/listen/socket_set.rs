//! The listening sockets of a fleet, by address.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use socket2::Socket;

use super::group::SocketGroup;
use super::{Endpoint, Holders, Sharing, SocketOptions, name_of};
use crate::error::Error;
use crate::sys::{self, Activated, ListenQueue};

/// Every listening socket of the fleet; owned by the master.
#[derive(Debug)]
pub(crate) struct SocketSet {
    pub(super) groups: Vec<SocketGroup>,
    /// The addresses that upgrades have removed, until no child is left that holds their sockets.
    pub(super) leaving: Vec<SocketGroup>,
    /// See [`options_refused`](Self::options_refused).
    pub(super) options_refused: bool,
}

/// The listeners of one address, for a thread that looks at their queues. It keeps none of them open, except in the
/// moment in which it looks.
#[derive(Debug, Clone)]
pub(crate) struct WatchedListeners {
    listener: String,
    per_slot: bool,
    sockets: Vec<Weak<Socket>>,
}

impl WatchedListeners {
    /// What waits to be accepted.
    pub(crate) fn queues(&self) -> ListenerQueues {
        let queue = |socket: &Weak<Socket>| sys::listen_queue(&*socket.upgrade()?);
        ListenerQueues {
            listener: self.listener.clone(),
            per_slot: self.per_slot,
            queues: self.sockets.iter().map(queue).collect(),
        }
    }
}

/// The queues of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerQueues {
    pub(crate) listener: String,
    /// Whether each slot has a queue of its own.
    pub(crate) per_slot: bool,
    /// In the order of the slots; `None` where the system does not tell.
    pub(crate) queues: Vec<Option<ListenQueue>>,
}

impl SocketSet {
    /// Binds and listens on every address, for `slots` slots; takes those of `activated` that are
    /// named.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`] if an address cannot be resolved, [`Error::Bind`] if the system refuses it,
    /// [`Error::BadOption`] if the system does not have an option.
    pub(crate) fn open(
        endpoints: &[Endpoint],
        mut activated: Vec<Activated>,
        sharing: Sharing,
        slots: usize,
        options: SocketOptions,
    ) -> Result<Self, Error> {
        let mut open = |endpoint: &Endpoint| {
            let place = activated.iter().position(|passed| endpoint.activated_name() == Some(&passed.name));
            match place {
                Some(place) => SocketGroup::take(endpoint.clone(), activated.remove(place).socket, options),
                None => SocketGroup::open(&endpoint.resolved()?, sharing, slots, options, &[]),
            }
        };
        let groups = endpoints.iter().map(&mut open).collect::<Result<_, _>>()?;
        Ok(Self { groups, leaving: Vec::new(), options_refused: false })
    }

    /// The service manager's sockets among them, with their names.
    pub(crate) fn activated(&self) -> impl Iterator<Item = (&str, &Arc<Socket>)> {
        self.groups
            .iter()
            .filter_map(|group| Some((group.endpoint.activated_name()?, group.sockets.first()?)))
    }

    /// Sets the options on sockets that another program has opened.
    pub(crate) fn replace_options(&self) -> Result<(), Error> {
        self.groups.iter().map(SocketGroup::replace_options).fold(Ok(()), Result::and)
    }

    /// Sets other options, on the sockets that are open and on those that will be.
    ///
    /// # Errors
    ///
    /// The first that the system refuses. The other sockets have the new options.
    pub(crate) fn change_options(&mut self, options: SocketOptions) -> Result<(), Error> {
        let changed =
            self.groups.iter_mut().map(|group| group.change_options(options)).fold(Ok(()), Result::and);
        self.options_refused = changed.is_err();
        changed
    }

    /// Whether some sockets do not have the options that they were last given.
    pub(crate) fn options_refused(&self) -> bool {
        self.options_refused
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &SocketGroup> {
        self.groups.iter().chain(&self.leaving)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut SocketGroup> {
        self.groups.iter_mut().chain(&mut self.leaving)
    }

    /// Whether it matters which children hold which sockets.
    pub(crate) fn depend_on_holders(&self) -> bool {
        let are_several = |group: &SocketGroup| match group.sharing {
            Sharing::Shared => group.sockets.len() > 1,
            Sharing::Reuseport => !group.sockets.is_empty(),
        };
        !self.leaving.is_empty() || self.groups.iter().any(are_several)
    }

    /// The sockets that the slot's child accepts from, in the order of the addresses; opened if the
    /// fleet has grown.
    pub(crate) fn for_slot(&mut self, slot: usize) -> io::Result<Vec<Arc<Socket>>> {
        self.groups.iter_mut().try_for_each(|group| group.grow_to(slot))?;
        let closed = || io::Error::other("the listeners are closed");
        self.groups.iter().map(|group| group.of_slot(slot).cloned().ok_or_else(closed)).collect()
    }

    /// The slot's own sockets.
    pub(crate) fn own_of(&self, slot: usize) -> impl Iterator<Item = &Socket> {
        self.groups.iter().filter_map(move |group| group.own_of(slot))
    }

    /// Closes the sockets that none of the slots needs and no child holds. Returns the addresses where
    /// connections were queued on them.
    pub(crate) fn close_unneeded(&mut self, slots: usize, holders: &Holders) -> Vec<String> {
        let mut reset = Vec::new();
        for group in self.all_mut() {
            if group.close_unneeded(slots, holders) {
                reset.push(group.place.to_string());
            }
        }
        self.leaving.retain(|group| !group.sockets.is_empty());
        reset
    }

    /// Of a child's sockets, the addresses of those that no other child accepts from, now or later.
    pub(crate) fn last_held_by(&self, held: &[Weak<Socket>], slots: usize, holders: &Holders) -> Vec<String> {
        let held = held.iter().filter_map(Weak::upgrade);
        let is_last = |socket: &Arc<Socket>| self.all().any(|group| group.is_last_on(socket, slots, holders));
        held.filter(is_last).filter_map(|socket| name_of(&socket).ok()).collect()
    }

    /// Gives up the removed addresses from which no child accepts any more, except what is queued. Returns
    /// those that had not been given up.
    pub(crate) fn give_up_addresses(&mut self, holders: &Holders) -> Vec<String> {
        let mut given_up = Vec::new();
        for group in &mut self.leaving {
            let is_served = group.sockets.iter().any(|socket| holders.is_live(socket));
            if !is_served && group.give_up_address() {
                given_up.push(group.place.to_string());
            }
        }
        given_up
    }

    /// Refuses new connections where the system can do that, because the fleet stops for good. Children
    /// accept what is queued.
    pub(crate) fn refuse_connections(&mut self) {
        self.groups.iter_mut().for_each(SocketGroup::refuse_connections);
        for group in &mut self.leaving {
            group.give_up_address();
        }
    }

    /// Whether connections are queued, no new ones can come, and a child accepts them.
    pub(crate) fn have_last_queue(&self, holders: &Holders) -> bool {
        self.all().any(|group| group.has_last_queue(holders))
    }

    /// Whether connections are queued that no child accepts, and no new ones can come.
    pub(crate) fn have_orphaned_queue(&self, holders: &Holders) -> bool {
        self.all().any(|group| group.has_orphaned_queue(holders))
    }

    /// The listeners, for another thread. Of addresses that leave there is nothing to tell.
    pub(crate) fn watched(&self) -> Vec<WatchedListeners> {
        let watched = |group: &SocketGroup| WatchedListeners {
            listener: group.place.to_string(),
            per_slot: group.sharing == Sharing::Reuseport,
            sockets: group.told().iter().map(Arc::downgrade).collect(),
        };
        self.groups.iter().map(watched).collect()
    }

    /// Whether [`watched`](Self::watched) would return these.
    pub(crate) fn are_watched(&self, watched: &[WatchedListeners]) -> bool {
        let is_same =
            |socket: &Arc<Socket>, other: &Weak<Socket>| std::ptr::eq(Arc::as_ptr(socket), other.as_ptr());
        let are_same = |(group, watched): (&SocketGroup, &WatchedListeners)| {
            let sockets = group.told();
            let mut pairs = sockets.iter().zip(&watched.sockets);
            sockets.len() == watched.sockets.len() && pairs.all(|(socket, other)| is_same(socket, other))
        };
        self.groups.len() == watched.len() && self.groups.iter().zip(watched).all(are_same)
    }

    /// Closes the master's descriptors, because the fleet stops. Children keep theirs.
    pub(crate) fn close(&mut self) {
        self.all_mut().for_each(SocketGroup::close);
        self.leaving.clear();
    }

    /// Steers new connections to the sockets of each address that children accept from. Without any, they go
    /// to all of its sockets and wait for a child.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, once until it agrees again. Connections are then spread as the kernel does by
    /// itself, and the next call is another attempt.
    pub(crate) fn steer(&mut self, holders: &Holders) -> io::Result<()> {
        self.all_mut().map(|group| group.steer(holders)).fold(Ok(()), io::Result::and)
    }

    /// Undoes what children have done to the sockets of a slot. Returns the addresses whose socket they had
    /// shut down.
    pub(crate) fn restore(&mut self, slot: usize) -> io::Result<Vec<String>> {
        let mut restored = Vec::new();
        for group in &mut self.groups {
            if group.restore(slot)? {
                restored.push(group.place.to_string());
            }
        }
        Ok(restored)
    }

    /// The networks, and how children share the sockets: `tcp4, one shared socket`.
    pub(crate) fn kind(&self) -> String {
        let reuseport = self.groups.iter().any(|group| group.sharing == Sharing::Reuseport);
        match (self.groups.as_slice(), reuseport) {
            (groups, _) if groups.iter().all(|group| group.endpoint.is_activated()) => {
                "from the service manager, shared".to_owned()
            }
            ([only], false) => format!("{}, one shared socket", only.endpoint.network),
            ([only], true) => format!("{}, reuseport, a socket each", only.endpoint.network),
            (_, false) => "one shared socket for each".to_owned(),
            (_, true) => "reuseport, a socket each where there is TCP".to_owned(),
        }
    }

    /// Whether these are the addresses.
    pub(crate) fn are_at(&self, endpoints: &[Endpoint]) -> bool {
        self.groups.iter().map(|group| &group.endpoint).eq(endpoints)
    }
}

/// The addresses that the fleet listens on.
impl fmt::Display for SocketSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, group) in self.groups.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{}", group.place)?;
        }
        Ok(())
    }
}
