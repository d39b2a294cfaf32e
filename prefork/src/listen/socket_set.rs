//! The listening sockets of a fleet, by address.

use std::fmt;
use std::io;

use socket2::Socket;

use super::group::SocketGroup;
use super::{Endpoint, Sharing, SocketOptions};
use crate::error::Error;
use crate::sys::Activated;

/// Every listening socket of the fleet; owned by the master.
#[derive(Debug)]
pub(crate) struct SocketSet {
    groups: Vec<SocketGroup>,
}

/// The sockets of one address, as described to the program that takes them over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedSockets {
    pub(crate) endpoint: Endpoint,
    pub(crate) sharing: Sharing,
    /// Their positions among the listeners that are handed over, in the order of the slots.
    pub(crate) listeners: Vec<usize>,
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
                None => SocketGroup::open(endpoint, sharing, slots, options),
            }
        };
        Ok(Self { groups: endpoints.iter().map(&mut open).collect::<Result<_, _>>()? })
    }

    /// Whether the service manager opened every one of these sockets.
    pub(crate) fn are_activated(&self) -> bool {
        self.groups.iter().all(|group| group.endpoint.is_activated())
    }

    /// Takes its sockets out of the listeners that another program handed over.
    pub(crate) fn adopt(
        passed: &[PassedSockets],
        listeners: &mut [Option<Socket>],
        options: SocketOptions,
    ) -> io::Result<Self> {
        let missing = || io::Error::other("a listener was not handed over");
        let mut take = |number: &usize| listeners.get_mut(*number).and_then(Option::take).ok_or_else(missing);
        let mut adopt = |passed: &PassedSockets| {
            let sockets = passed.listeners.iter().map(&mut take).collect::<io::Result<_>>()?;
            SocketGroup::adopt(passed.endpoint.clone(), passed.sharing, sockets, options)
        };
        Ok(Self { groups: passed.iter().map(&mut adopt).collect::<io::Result<_>>()? })
    }

    /// Sets the options of TCP sockets, also where another program had set other values.
    pub(crate) fn set_options(&self) -> Result<(), Error> {
        self.groups.iter().try_for_each(SocketGroup::set_options)
    }

    /// Sets other options, on the sockets that are open and on those that will be.
    ///
    /// # Errors
    ///
    /// The first that the system refuses. The other sockets have the new options.
    pub(crate) fn change_options(&mut self, options: SocketOptions) -> Result<(), Error> {
        self.groups.iter_mut().map(|group| group.change_options(options)).fold(Ok(()), Result::and)
    }

    /// A description for the program that takes over [`all`](Self::all) of them, in that order.
    pub(crate) fn passed(&self) -> Vec<PassedSockets> {
        let mut numbers = 0..;
        let mut describe = |group: &SocketGroup| PassedSockets {
            endpoint: group.endpoint.clone(),
            sharing: group.sharing,
            listeners: numbers.by_ref().take(group.sockets.len()).collect(),
        };
        self.groups.iter().map(&mut describe).collect()
    }

    /// Rearranges the sockets for the options of another program: addresses in both stay open, new ones
    /// are opened, and the others are closed.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), with the sockets as they were.
    pub(crate) fn rearranged(
        mut self,
        endpoints: &[Endpoint],
        sharing: Sharing,
        slots: usize,
        options: SocketOptions,
    ) -> Result<Self, (Self, Error)> {
        let wants = |endpoint: &Endpoint, group: &SocketGroup| {
            let spread = group.sharing == Sharing::Reuseport;
            let shall_be_spread = group.can_be_spread() && sharing.in_effect() == Sharing::Reuseport;
            group.endpoint == *endpoint && spread == shall_be_spread
        };
        let mut opened = Vec::new();
        for endpoint in endpoints {
            if self.groups.iter().any(|group| wants(endpoint, group)) {
                continue;
            }
            match SocketGroup::open(endpoint, sharing, slots, options) {
                Ok(group) => opened.push(group),
                Err(error) => return Err((self, error)),
            }
        }
        let mut groups = Vec::new();
        for endpoint in endpoints {
            let from = |groups: &mut Vec<SocketGroup>| {
                let place = groups.iter().position(|group| wants(endpoint, group))?;
                Some(groups.remove(place))
            };
            groups.extend(from(&mut self.groups).or_else(|| from(&mut opened)));
        }
        Ok(Self { groups })
    }

    /// All of them, address by address, in the order of their slots.
    pub(crate) fn all(&self) -> Vec<&Socket> {
        self.groups.iter().flat_map(|group| &group.sockets).collect()
    }

    /// The sockets that the slot's child accepts from, in the order of the addresses; opened if the
    /// fleet has grown.
    pub(crate) fn for_slot(&mut self, slot: usize) -> io::Result<Vec<&Socket>> {
        self.groups.iter_mut().try_for_each(|group| group.grow_to(slot))?;
        let closed = || io::Error::other("the listeners are closed");
        self.groups.iter().map(|group| group.of_slot(slot).ok_or_else(closed)).collect()
    }

    /// The slot's own sockets.
    pub(crate) fn own_of(&self, slot: usize) -> impl Iterator<Item = &Socket> {
        self.groups.iter().filter_map(move |group| group.own_of(slot))
    }

    /// Closes the sockets of slots that were removed. In shared mode there are none.
    pub(crate) fn close_from(&mut self, slot: usize) {
        self.groups.iter_mut().for_each(|group| group.close_from(slot));
    }

    /// Refuses new connections where the system can do that, because the fleet stops for good. Children
    /// accept what is queued.
    pub(crate) fn refuse_connections(&mut self) {
        self.groups.iter_mut().for_each(SocketGroup::refuse_connections);
    }

    /// Whether connections are queued, no new ones can come, and a child accepts them: in reuseport mode
    /// one of a slot that is `live`.
    pub(crate) fn have_last_queue(&self, live: &[bool]) -> bool {
        self.groups.iter().any(|group| group.has_last_queue(live))
    }

    /// Whether connections are queued for slots that are not `live`, and no new ones can come.
    pub(crate) fn have_orphaned_queue(&self, live: &[bool]) -> bool {
        self.groups.iter().any(|group| group.has_orphaned_queue(live))
    }

    /// Closes the master's descriptors, because the fleet stops. Children keep theirs.
    pub(crate) fn close(&mut self) {
        self.groups.iter_mut().for_each(SocketGroup::close);
    }

    /// In reuseport mode, steers new connections to the slots that `live` marks. Without any, they go to
    /// all slots and wait for a child.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, once until it agrees again. Connections are then spread as the kernel does by
    /// itself, and the next call is another attempt.
    pub(crate) fn steer(&mut self, live: &[bool]) -> io::Result<()> {
        self.groups.iter_mut().map(|group| group.steer(live)).fold(Ok(()), io::Result::and)
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
            _ if self.are_activated() => "from the service manager, shared".to_owned(),
            ([only], false) => format!("{}, one shared socket", only.endpoint.network),
            ([only], true) => format!("{}, reuseport, a socket each", only.endpoint.network),
            (_, false) => "one shared socket for each".to_owned(),
            (_, true) => "reuseport, a socket each where there is TCP".to_owned(),
        }
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
