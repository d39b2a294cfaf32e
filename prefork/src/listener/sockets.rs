//! The listening sockets of a fleet, and which slot each belongs to.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::{Network, Place, Sharing, bind_first_possible, join_reuseport_group, open, resolve};
use crate::error::Error;
use crate::sys;

/// One socket in shared mode, one for each slot in reuseport mode; owned by the master.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// In the order in which they joined the group, which is the order of the slots.
    all: Vec<TcpListener>,
    place: Place,
    sharing: Sharing,
    backlog: i32,
    steering: Steering,
}

/// Whether the kernel is told which slots new connections may go to.
#[derive(Debug, PartialEq, Eq)]
enum Steering {
    /// It spreads them over all.
    Everywhere,
    /// It goes by this list.
    Only(Vec<usize>),
    /// It does what the program before this one said.
    Unknown,
    /// It does not let us.
    Refused,
}

impl Sockets {
    /// Binds and listens, for `slots` slots.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`] if `addr` cannot be understood, [`Error::Bind`] if the system refuses it.
    pub(crate) fn open(
        addr: &str,
        network: Network,
        sharing: Sharing,
        slots: usize,
        backlog: i32,
    ) -> Result<Self, Error> {
        let resolve_error = |reason| Error::Resolve { addr: addr.to_owned(), network, reason };
        let bind_error = |source| Error::Bind { addr: addr.to_owned(), network, source };
        let place = resolve(addr, network).map_err(resolve_error)?;
        Self::bind(place, sharing.in_effect(), slots, backlog).map_err(bind_error)
    }

    fn bind(place: Place, sharing: Sharing, slots: usize, backlog: i32) -> io::Result<Self> {
        let first = bind_first_possible(place, sharing)?;
        let addr = first.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
        let place = Place { addr, dual_stack: place.dual_stack && addr.is_ipv6() };
        first.listen(backlog)?;
        let steering = Steering::Everywhere;
        let mut sockets = Self { all: vec![first.into()], place, sharing, backlog, steering };
        if sharing == Sharing::Reuseport {
            sockets.for_slot(slots.saturating_sub(1))?;
        }
        Ok(sockets)
    }

    /// Takes over sockets that another program opened, in the order of their slots.
    pub(crate) fn adopt(all: Vec<TcpListener>, sharing: Sharing, backlog: i32) -> io::Result<Self> {
        let first = all.first().ok_or_else(|| io::Error::other("no listener was passed on"))?;
        let addr = first.local_addr()?;
        let dual_stack = addr.is_ipv6() && !socket2::SockRef::from(first).only_v6()?;
        let steering = Steering::Unknown;
        Ok(Self { all, place: Place { addr, dual_stack }, sharing, backlog, steering })
    }

    /// All of them, in the order of their slots.
    pub(crate) fn all(&self) -> &[TcpListener] {
        &self.all
    }

    /// Where the fleet listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.place.addr
    }

    /// The socket that the slot's child accepts from; opened if the fleet has grown.
    pub(crate) fn for_slot(&mut self, slot: usize) -> io::Result<&TcpListener> {
        let index = match self.sharing {
            Sharing::Shared => 0,
            Sharing::Reuseport => slot,
        };
        while self.all.len() <= index && self.sharing == Sharing::Reuseport {
            let socket = open(self.place)?;
            join_reuseport_group(&socket)?;
            socket.bind(&self.place.addr.into())?;
            socket.listen(self.backlog)?;
            self.all.push(socket.into());
        }
        self.all.get(index).ok_or_else(|| io::Error::other("the listeners are closed"))
    }

    /// The socket that is this slot's alone.
    pub(crate) fn own_of(&self, slot: usize) -> Option<&TcpListener> {
        self.all.get(slot).filter(|_| self.sharing == Sharing::Reuseport)
    }

    /// Closes the sockets of slots that are gone. In shared mode there are none.
    pub(crate) fn close_from(&mut self, slot: usize) {
        if self.sharing == Sharing::Reuseport {
            self.all.truncate(slot);
        }
    }

    /// Closes the master's hold on all of them, for the fleet stops. Children keep theirs.
    pub(crate) fn close(&mut self) {
        self.all.drain(..).for_each(sys::close_for_all);
    }

    /// Has new connections go to live slots only, in reuseport mode; `live` says which are. With
    /// none alive they go everywhere, to wait for a child.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, once; the fleet is then as good as the kernel's own spreading.
    pub(crate) fn steer(&mut self, live: &[bool]) -> io::Result<()> {
        let Some(first) = self.all.first().filter(|_| self.sharing == Sharing::Reuseport) else {
            return Ok(());
        };
        let targets: Vec<usize> = (0..live.len()).filter(|slot| live[*slot]).collect();
        // A socket that belongs to no slot any more must be left out as well.
        let everywhere = targets.is_empty() || targets.len() == self.all.len();
        let wanted = if everywhere { Steering::Everywhere } else { Steering::Only(targets) };
        if self.steering == Steering::Refused || self.steering == wanted {
            return Ok(());
        }
        let steered = match &wanted {
            Steering::Only(targets) => sys::steer(first, targets),
            Steering::Everywhere | Steering::Unknown | Steering::Refused => sys::unsteer(first),
        };
        self.steering = if steered.is_ok() { wanted } else { Steering::Refused };
        steered
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_reuseport_group_shares_one_port_with_nobody_else() {
        let group = |addr: &str| Sockets::open(addr, Network::Tcp4, Sharing::Reuseport, 3, 16);
        let sockets = group("127.0.0.1:0").unwrap();
        assert_eq!(sockets.all.len(), 3);
        assert!(sockets.all.iter().all(|socket| socket.local_addr().unwrap() == sockets.addr()));
        match group(&sockets.addr().to_string()) {
            Err(Error::Bind { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::AddrInUse),
            other => panic!("a second group joined the first: {other:?}"),
        }
    }

    #[test]
    fn tcp_without_a_host_takes_both_versions() {
        let sockets = Sockets::open(":0", Network::Tcp, Sharing::Shared, 4, 16).unwrap();
        let port = sockets.addr().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if sockets.addr().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connections_are_steered_to_live_slots_only() {
        let mut sockets = Sockets::open("127.0.0.1:0", Network::Tcp4, Sharing::Reuseport, 3, 512).unwrap();
        let arrivals = |sockets: &Sockets| {
            let clients: Vec<_> = (0..150).map(|_| TcpStream::connect(sockets.addr()).unwrap()).collect();
            let counts: Vec<usize> = sockets.all.iter().map(accept_all).collect();
            drop(clients);
            counts
        };
        for socket in &sockets.all {
            socket.set_nonblocking(true).unwrap();
        }
        assert!(arrivals(&sockets).iter().all(|count| *count > 0), "the kernel spreads by itself");
        sockets.steer(&[true, false, true]).unwrap();
        let steered = arrivals(&sockets);
        assert_eq!((steered[1], steered[0] + steered[2]), (0, 150));
        assert!(steered[0] > 0 && steered[2] > 0);
        sockets.steer(&[false, true, false]).unwrap();
        assert_eq!(arrivals(&sockets), [0, 150, 0]);
        sockets.steer(&[true, true, true]).unwrap();
        assert!(arrivals(&sockets).iter().all(|count| *count > 0));
        // Without any, they wait wherever the kernel puts them.
        sockets.steer(&[true, false, false]).unwrap();
        sockets.steer(&[false, false, false]).unwrap();
        assert!(arrivals(&sockets).iter().all(|count| *count > 0));
    }

    #[cfg(target_os = "linux")]
    fn accept_all(socket: &TcpListener) -> usize {
        std::iter::from_fn(|| socket.accept().ok()).count()
    }
}
