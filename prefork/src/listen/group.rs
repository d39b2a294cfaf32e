//! The sockets of one address, and which slot each belongs to.

use std::io;

use socket2::Socket;

use super::Sharing;
use super::bind::{self, SocketOptions};
use super::endpoint::{Endpoint, Place, TcpPlace, place_of};
use crate::error::Error;
use crate::sys::{self, SocketFile};

/// One socket in shared mode, one for each slot in reuseport mode; owned by the master.
#[derive(Debug)]
pub(super) struct SocketGroup {
    pub(super) endpoint: Endpoint,
    /// The resolved address, with the port that the system chose.
    pub(super) place: Place,
    pub(super) sharing: Sharing,
    /// In the order in which they joined the group, which is the order of the slots.
    pub(super) sockets: Vec<Socket>,
    file: Option<SocketFile>,
    options: SocketOptions,
    steering: Steering,
    /// Whether the order in which the sockets joined the group is that of the slots.
    in_order: bool,
    /// Whether the kernel's last refusal to steer was reported.
    refusal_reported: bool,
    /// Whether new connections are refused.
    refuses: bool,
}

/// How the kernel spreads new connections over the slots.
#[derive(Debug, PartialEq, Eq)]
enum Steering {
    /// Over all slots.
    Everywhere,
    /// Over the slots that this list marks as live.
    Only(Vec<usize>),
    /// As the previous program in this process set it, or as it was before a failure.
    Unknown,
}

impl SocketGroup {
    /// Binds and listens, for `slots` slots.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`] if the address cannot be resolved, [`Error::Bind`] if the system refuses it,
    /// [`Error::BadOption`] if the system does not have an option.
    pub(super) fn open(
        endpoint: &Endpoint,
        sharing: Sharing,
        slots: usize,
        options: SocketOptions,
    ) -> Result<Self, Error> {
        let Endpoint { addr, network } = endpoint.clone();
        let place = endpoint.resolve();
        let place = place.map_err(|reason| Error::Resolve { addr: addr.clone(), network, reason })?;
        let bind_error = |source| Error::Bind { addr: addr.clone(), network, source };
        let (first, place, file) = bind(place, sharing, options).map_err(bind_error)?;
        let sharing = sharing_at(&place, sharing);
        let group = Self::holding(endpoint.clone(), place, sharing, vec![first], options);
        let mut group = Self { file, ..group };
        group.set_options()?;
        group.sockets.iter().try_for_each(|first| first.listen(options.backlog())).map_err(bind_error)?;
        if let Some(file) = &mut group.file {
            file.listens();
        }
        if sharing == Sharing::Reuseport {
            group.open_up_to(slots.saturating_sub(1)).map_err(bind_error)?;
        }
        Ok(group)
    }

    /// Takes a socket that the service manager opened and keeps open. The service manager determines the
    /// length of its queue and the mode of a Unix socket's file.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if it cannot be used, [`Error::BadOption`] if the system does not have an option.
    pub(super) fn take(endpoint: Endpoint, socket: Socket, options: SocketOptions) -> Result<Self, Error> {
        let place = place_of(&socket).map_err(|source| Error::Bind {
            addr: endpoint.addr.clone(),
            network: endpoint.network,
            source,
        })?;
        let group = Self::holding(endpoint, place, Sharing::Shared, vec![socket], options);
        group.set_options()?;
        Ok(group)
    }

    /// Takes over sockets that another program opened, in the order of their slots.
    pub(super) fn adopt(
        endpoint: Endpoint,
        sharing: Sharing,
        sockets: Vec<Socket>,
        options: SocketOptions,
    ) -> io::Result<Self> {
        let first = sockets.first().ok_or_else(|| io::Error::other("no listener was passed on"))?;
        let place = place_of(first)?;
        let file = match &place {
            // Another process may have removed the file.
            Place::Path(path) if !endpoint.is_activated() => SocketFile::adopt(path).ok(),
            Place::Path(_) | Place::Tcp(_) | Place::Abstract(_) => None,
        };
        let group = Self::holding(endpoint, place, sharing, sockets, options);
        Ok(Self { file, steering: Steering::Unknown, ..group })
    }

    fn holding(
        endpoint: Endpoint,
        place: Place,
        sharing: Sharing,
        sockets: Vec<Socket>,
        options: SocketOptions,
    ) -> Self {
        Self {
            endpoint,
            place,
            sharing,
            sockets,
            file: None,
            options,
            steering: Steering::Everywhere,
            in_order: true,
            refusal_reported: false,
            refuses: false,
        }
    }

    /// Sets the options of TCP sockets, also where another program had set other values.
    pub(super) fn set_options(&self) -> Result<(), Error> {
        let is_tcp = matches!(self.place, Place::Tcp(_));
        self.sockets.iter().filter(|_| is_tcp).try_for_each(|socket| self.options.apply(socket))
    }

    /// Sets other options, also on the sockets that listen. Those of the service manager keep what its unit says
    /// where an option is not set any more.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if the system refuses an option, [`Error::Bind`] if it refuses the length of the queue.
    pub(super) fn change_options(&mut self, options: SocketOptions) -> Result<(), Error> {
        let old = std::mem::replace(&mut self.options, options);
        if matches!(self.place, Place::Tcp(_)) {
            self.sockets.iter().for_each(|socket| old.take_back(&options, socket));
            self.set_options()?;
        }
        if old.backlog == options.backlog || self.endpoint.is_activated() {
            return Ok(());
        }
        let Endpoint { addr, network } = self.endpoint.clone();
        let listen = |socket: &Socket| socket.listen(options.backlog());
        self.sockets.iter().try_for_each(listen).map_err(|source| Error::Bind { addr, network, source })
    }

    /// Whether each slot can have a socket of its own.
    pub(super) fn can_be_spread(&self) -> bool {
        matches!(self.place, Place::Tcp(_)) && !self.endpoint.is_activated()
    }

    /// Opens the missing sockets up to this slot's, because the fleet has grown. New connections go to the other
    /// sockets until the next [`steer`](Self::steer): if the slot's child cannot be started, its socket is closed.
    pub(super) fn grow_to(&mut self, slot: usize) -> io::Result<()> {
        let present: Vec<usize> = (0..self.sockets.len()).collect();
        let grows = self.sharing == Sharing::Reuseport && self.sockets.len() <= slot;
        let is_steered = self.steering != Steering::Everywhere || !self.in_order;
        if let Some(first) = self.sockets.first().filter(|_| grows && !is_steered) {
            // Where the system cannot, the new socket gets its share at once.
            if sys::steer(first, &present).is_ok() {
                self.steering = Steering::Only(present);
            }
        }
        self.open_up_to(slot)
    }

    /// Opens the missing sockets up to this slot's.
    fn open_up_to(&mut self, slot: usize) -> io::Result<()> {
        let Place::Tcp(place) = self.place else { return Ok(()) };
        while self.sockets.len() <= slot && self.sharing == Sharing::Reuseport {
            let socket = bind::bind_another(place)?;
            self.options.apply(&socket).map_err(io::Error::other)?;
            socket.listen(self.options.backlog())?;
            self.sockets.push(socket);
        }
        Ok(())
    }

    /// The socket that the slot's child accepts from.
    pub(super) fn of_slot(&self, slot: usize) -> Option<&Socket> {
        match self.sharing {
            Sharing::Shared => self.sockets.first(),
            Sharing::Reuseport => self.sockets.get(slot),
        }
    }

    /// The socket that only this slot's child accepts from.
    pub(super) fn own_of(&self, slot: usize) -> Option<&Socket> {
        self.sockets.get(slot).filter(|_| self.sharing == Sharing::Reuseport)
    }

    /// Closes the sockets of slots that were removed. In shared mode there are none.
    pub(super) fn close_from(&mut self, slot: usize) {
        if self.sharing == Sharing::Reuseport {
            self.sockets.truncate(slot);
        }
    }

    /// Refuses new connections where the system can do that. Sockets of the service manager stay as they
    /// are: they go on listening, and keep their queue for the next start.
    pub(super) fn refuse_connections(&mut self) {
        self.refuses = match self.place {
            _ if self.endpoint.is_activated() => false,
            Place::Tcp(_) => self.sockets.iter().all(|socket| sys::refuse_connections(socket).is_ok()),
            Place::Path(_) => {
                // Without its file, the socket cannot be connected to.
                self.file = None;
                true
            }
            // While connections are queued, further ones have to wait.
            Place::Abstract(_) => self.sockets.iter().all(|socket| socket.listen(0).is_ok()),
        };
    }

    /// Whether connections are queued, no new ones can come, and a child accepts them.
    pub(super) fn has_last_queue(&self, live: &[bool]) -> bool {
        self.refuses && self.has_queue(|slot| self.is_served(slot, live))
    }

    /// Whether connections are queued that no child accepts, and no new ones can come.
    pub(super) fn has_orphaned_queue(&self, live: &[bool]) -> bool {
        self.refuses && self.has_queue(|slot| !self.is_served(slot, live))
    }

    fn has_queue(&self, of_slot: impl Fn(usize) -> bool) -> bool {
        self.sockets.iter().enumerate().any(|(slot, socket)| of_slot(slot) && sys::has_queue(socket))
    }

    /// A slot beyond the fleet's size has a socket only while its last child empties the queue.
    fn is_served(&self, slot: usize, live: &[bool]) -> bool {
        self.sharing == Sharing::Shared || live.get(slot).copied().unwrap_or(true)
    }

    /// Closes the master's descriptors, and removes a socket's file.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.sockets.drain(..).for_each(sys::close_for_all);
    }

    /// See [`SocketSet::steer`](super::SocketSet::steer).
    pub(super) fn steer(&mut self, live: &[bool]) -> io::Result<()> {
        let Some(first) = self.sockets.first().filter(|_| self.sharing == Sharing::Reuseport) else {
            return Ok(());
        };
        let targets: Vec<usize> = (0..live.len()).filter(|slot| live[*slot]).collect();
        // Sockets of slots that were removed are left out as well.
        let everywhere = targets.is_empty() || targets.len() == self.sockets.len() || !self.in_order;
        let wanted = if everywhere { Steering::Everywhere } else { Steering::Only(targets) };
        if self.steering == wanted {
            return Ok(());
        }
        let steered = match &wanted {
            Steering::Only(targets) => sys::steer(first, targets),
            Steering::Everywhere | Steering::Unknown => sys::unsteer(first),
        };
        match steered {
            Ok(()) => {
                self.steering = wanted;
                self.refusal_reported = false;
                Ok(())
            }
            Err(error) => {
                // The last program would steer to slots that are not live any more. The next call tries again.
                let detached = sys::unsteer(first).is_ok();
                self.steering = if detached { Steering::Everywhere } else { Steering::Unknown };
                if std::mem::replace(&mut self.refusal_reported, true) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Undoes what a child has done to the slot's socket. Returns whether a child had shut it down.
    pub(super) fn restore(&mut self, slot: usize) -> io::Result<bool> {
        // The length of the queue is the service manager's.
        let Place::Tcp(place) = self.place else { return Ok(false) };
        if self.endpoint.is_activated() {
            return Ok(false);
        }
        let Some(socket) = self.of_slot(slot) else { return Ok(false) };
        let was_shut_down = sys::restore_listener(socket, &place.addr.into(), self.options.backlog())?;
        // It has joined the group once more, as the last one.
        self.in_order &= !was_shut_down;
        Ok(was_shut_down)
    }
}

/// A Unix address has one socket that all children accept from, because Unix sockets have no reuseport
/// groups.
fn sharing_at(place: &Place, sharing: Sharing) -> Sharing {
    match place {
        Place::Tcp(_) => sharing.in_effect(),
        Place::Path(_) | Place::Abstract(_) => Sharing::Shared,
    }
}

fn bind(
    place: Place,
    sharing: Sharing,
    options: SocketOptions,
) -> io::Result<(Socket, Place, Option<SocketFile>)> {
    match place {
        Place::Tcp(place) => {
            let socket = bind::bind_first_possible(place, sharing.in_effect())?;
            let addr = socket.local_addr()?.as_socket();
            let addr = addr.ok_or_else(|| io::Error::other("the system bound no IP socket"))?;
            let place = TcpPlace { addr, dual_stack: place.dual_stack && addr.is_ipv6() };
            Ok((socket, Place::Tcp(place), None))
        }
        Place::Path(path) => {
            let (socket, file) = SocketFile::bind(&path, options.file)?;
            Ok((socket, Place::Path(path), Some(file)))
        }
        Place::Abstract(name) => Ok((bind::bind_abstract(&name)?, Place::Abstract(name), None)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

    use super::*;
    use crate::listen::Network;
    use crate::skip::skipped;

    fn open(addr: &str, network: Network, sharing: Sharing, slots: usize) -> Result<SocketGroup, Error> {
        let options = SocketOptions { backlog: Some(512), ..SocketOptions::default() };
        SocketGroup::open(&Endpoint::new(addr, Some(network)), sharing, slots, options)
    }

    fn addr(group: &SocketGroup) -> SocketAddr {
        group.place.to_string().parse().unwrap()
    }

    #[test]
    fn reuseport_group_admits_no_other_group_on_its_port() {
        if sys::SHARES_ONE_SOCKET {
            return skipped("reuseport-groups");
        }
        let group = |addr: &str| open(addr, Network::Tcp4, Sharing::Reuseport, 3);
        let first = group("127.0.0.1:0").unwrap();
        let addr = addr(&first);
        assert_eq!(first.sockets.len(), 3);
        let own = |socket: &Socket| socket.local_addr().unwrap().as_socket();
        assert!(first.sockets.iter().all(|socket| own(socket) == Some(addr)));
        match group(&addr.to_string()) {
            Err(Error::Bind { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::AddrInUse),
            other => panic!("a second group joined the first: {other:?}"),
        }
    }

    #[test]
    fn tcp_without_host_accepts_ipv4_and_ipv6() {
        let group = open(":0", Network::Tcp, Sharing::Shared, 4).unwrap();
        let port = addr(&group).port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if addr(&group).is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    /// A group of three sockets that can be steered.
    fn steerable() -> Option<SocketGroup> {
        let group = open("127.0.0.1:0", Network::Tcp4, Sharing::Reuseport, 3).unwrap();
        if sys::SHARES_ONE_SOCKET || sys::steer(&group.sockets[0], &[0]).is_err() {
            return None;
        }
        sys::unsteer(&group.sockets[0]).unwrap();
        for socket in &group.sockets {
            socket.set_nonblocking(true).unwrap();
        }
        Some(group)
    }

    /// How many of 150 new connections each socket gets.
    fn arrivals(group: &SocketGroup) -> Vec<usize> {
        let clients: Vec<_> = (0..150).map(|_| TcpStream::connect(addr(group)).unwrap()).collect();
        let counts: Vec<usize> = group.sockets.iter().map(accept_all).collect();
        drop(clients);
        counts
    }

    #[test]
    fn refused_steering_is_reported_once_undone_and_tried_again() {
        let Some(mut group) = steerable() else { return skipped("reuseport-groups") };
        group.steer(&[true, false, false]).unwrap();
        // The program for so many gaps would be longer than the kernel allows.
        let many_gaps: Vec<bool> = (0..8192).map(|slot| slot % 2 == 0).collect();
        group.steer(&many_gaps).unwrap_err();
        assert!(arrivals(&group).iter().all(|count| *count > 0), "the last program was detached");
        group.steer(&many_gaps).unwrap();
        group.steer(&[false, true, false]).unwrap();
        assert_eq!(arrivals(&group), [0, 150, 0]);
        group.steer(&many_gaps).unwrap_err();
    }

    #[test]
    fn socket_of_a_new_slot_gets_connections_once_its_child_is_live() {
        let Some(mut group) = steerable() else { return skipped("reuseport-groups") };
        group.grow_to(3).unwrap();
        group.sockets[3].set_nonblocking(true).unwrap();
        let before = arrivals(&group);
        assert!(before[3] == 0 && before[..3].iter().all(|count| *count > 0), "{before:?}");
        group.steer(&[true, true, true, true]).unwrap();
        assert!(arrivals(&group).iter().all(|count| *count > 0));
        group.steer(&[true, true, true]).unwrap();
    }

    #[test]
    fn connections_are_steered_to_live_slots_only() {
        let Some(mut group) = steerable() else { return skipped("reuseport-groups") };
        assert!(arrivals(&group).iter().all(|count| *count > 0), "the kernel spreads by itself");
        group.steer(&[true, false, true]).unwrap();
        let steered = arrivals(&group);
        assert_eq!((steered[1], steered[0] + steered[2]), (0, 150));
        assert!(steered[0] > 0 && steered[2] > 0);
        group.steer(&[false, true, false]).unwrap();
        assert_eq!(arrivals(&group), [0, 150, 0]);
        group.steer(&[true, true, true]).unwrap();
        assert!(arrivals(&group).iter().all(|count| *count > 0));
        // Without live slots, connections queue where the kernel puts them.
        group.steer(&[true, false, false]).unwrap();
        group.steer(&[false, false, false]).unwrap();
        assert!(arrivals(&group).iter().all(|count| *count > 0));
    }

    fn accept_all(socket: &Socket) -> usize {
        std::iter::from_fn(|| socket.accept().ok()).count()
    }
}
