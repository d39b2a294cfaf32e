//! The sockets of one address, and which slot each belongs to.
//!
//! - `group.rs`: how they are opened, taken over and closed
//! - `group/steering.rs`: which of them get new connections

mod steering;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use socket2::Socket;

use self::steering::{SteeredFor, Steering};
use super::bind::{self, Lent, SocketOptions};
use super::endpoint::{Endpoint, Place, ResolvedEndpoint, TcpPlace, place_of};
use super::{Holders, Sharing};
use crate::error::Error;
use crate::sys::{self, SocketFile};

/// One socket in shared mode, one for each slot in reuseport mode; owned by the master.
#[derive(Debug)]
pub(super) struct SocketGroup {
    pub(super) endpoint: Endpoint,
    /// The resolved address, with the port that the system chose.
    pub(super) place: Place,
    pub(super) sharing: Sharing,
    /// In the order in which they joined the group, which is the order of the slots. In shared mode, those
    /// after the first were the slots' own until an upgrade; they are closed with the last child of that time.
    pub(super) sockets: Vec<Arc<Socket>>,
    file: Option<SocketFile>,
    options: SocketOptions,
    steering: Steering,
    /// The state for which new connections are steered as they should be: see [`steer`](Self::steer).
    steered_for: Option<SteeredFor>,
    /// Whether the order in which the sockets joined the group is that of the slots.
    in_order: bool,
    /// Whether the kernel's last refusal to steer was reported.
    refusal_reported: bool,
    /// Whether new connections are refused.
    refuses: bool,
    /// Whether an upgrade has removed the address: only children that were started before hold the sockets.
    pub(super) leaves: bool,
}

impl SocketGroup {
    /// Binds and listens, for `slots` slots. The sockets of `leaving` give up what they have of the address:
    /// until they are closed, new connections can go to either.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`] if the address is a socket that the service manager has not passed,
    /// [`Error::Bind`] if the system refuses it, [`Error::BadOption`] if the system does not have an option.
    pub(super) fn open(
        resolved: &ResolvedEndpoint,
        sharing: Sharing,
        slots: usize,
        options: SocketOptions,
        leaving: &[&Socket],
    ) -> Result<Self, Error> {
        let place = resolved.place.clone().ok_or_else(|| resolved.endpoint.not_passed())?;
        let endpoint = resolved.endpoint.clone();
        let bind_error = |source| endpoint.bind_error(source);
        let Bound { socket, place, file, lent } =
            bind(place, sharing, options, leaving).map_err(bind_error)?;
        let sharing = sharing_at(&place, sharing);
        let group = Self::holding(endpoint.clone(), place, sharing, vec![Arc::new(socket)], options);
        let mut group = Self { file, ..group };
        group.set_options()?;
        group.sockets.iter().try_for_each(|first| first.listen(options.backlog())).map_err(bind_error)?;
        drop(lent);
        if let Some(file) = &mut group.file {
            file.listens();
        }
        if sharing == Sharing::Reuseport {
            group.open_up_to(slots.saturating_sub(1)).map_err(bind_error)?;
        } else if !leaving.is_empty() {
            group.leave_kernel_group();
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
        let place = place_of(&socket).map_err(|source| endpoint.bind_error(source))?;
        let group = Self::holding(endpoint, place, Sharing::Shared, vec![Arc::new(socket)], options);
        group.set_options()?;
        Ok(group)
    }

    /// Takes over sockets that another program opened, in the order of their slots. `file` identifies the
    /// file of a Unix socket.
    pub(super) fn adopt(
        endpoint: Endpoint,
        sharing: Sharing,
        sockets: Vec<Arc<Socket>>,
        file: Option<(u64, u64)>,
        options: SocketOptions,
    ) -> io::Result<Self> {
        let first = sockets.first().ok_or_else(|| io::Error::other("no listener was passed on"))?;
        let place = place_of(first)?;
        let file = match &place {
            // Another process may have removed the file.
            Place::Path(path) => file.and_then(|identity| SocketFile::adopt(path, identity).ok()),
            Place::Tcp(_) | Place::Abstract(_) => None,
        };
        let group = Self::holding(endpoint, place, sharing, sockets, options);
        Ok(Self { file, steering: Steering::Unknown, ..group })
    }

    fn holding(
        endpoint: Endpoint,
        place: Place,
        sharing: Sharing,
        sockets: Vec<Arc<Socket>>,
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
            steered_for: None,
            in_order: true,
            refusal_reported: false,
            refuses: false,
            leaves: false,
        }
    }

    /// What tells the file of a Unix socket from another one at its path.
    pub(super) fn file_identity(&self) -> Option<(u64, u64)> {
        self.file.as_ref().map(SocketFile::identity)
    }

    /// Whether this is the address, written in whatever way, and new connections are taken.
    pub(super) fn is_at(&self, resolved: &ResolvedEndpoint) -> bool {
        let is_written = self.endpoint == resolved.endpoint;
        let activated = self.endpoint.is_activated() || resolved.endpoint.is_activated();
        let is_place = || !activated && resolved.place.as_ref() == Some(&self.place);
        !self.refuses && !self.sockets.is_empty() && (is_written || is_place())
    }

    /// Whether the sockets of this group can be shared in this way from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] where the system cannot let other sockets listen on an address that one has.
    pub(super) fn check_sharing(&self, sharing: Sharing) -> Result<(), Error> {
        let (Place::Tcp(place), Some(first)) = (&self.place, self.sockets.first()) else { return Ok(()) };
        if sharing == Sharing::Shared || self.sharing == Sharing::Reuseport {
            return Ok(());
        }
        let joined = Lent::new(&[first], place.addr.port()).and_then(|_lent| bind::bind_another(*place));
        joined.map(drop).map_err(|source| self.endpoint.bind_error(source))
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
        if old.backlog == options.backlog {
            return Ok(());
        }
        // What is refused is another length the next time as well.
        self.set_queue_length().inspect_err(|_| self.options.backlog = old.backlog)
    }

    /// Sets the options on sockets that another program has opened.
    pub(super) fn replace_options(&self) -> Result<(), Error> {
        if matches!(self.place, Place::Tcp(_)) && !self.endpoint.is_activated() {
            self.sockets.iter().for_each(|socket| self.options.take_back_others(socket));
        }
        self.set_options().and(self.set_file_options()).and(self.set_queue_length())
    }

    /// Sets the length of the queue, where another program had set another one.
    fn set_queue_length(&self) -> Result<(), Error> {
        if self.endpoint.is_activated() || self.refuses {
            return Ok(());
        }
        let listen = |socket: &Arc<Socket>| socket.listen(self.options.backlog());
        self.sockets.iter().try_for_each(listen).map_err(|source| self.endpoint.bind_error(source))
    }

    /// Sets the mode and the owner of a Unix socket's file, where another program had set others.
    fn set_file_options(&self) -> Result<(), Error> {
        let set = |file: &SocketFile| file.set_options(self.options.file);
        self.file.as_ref().map_or(Ok(()), set).map_err(|source| self.endpoint.bind_error(source))
    }

    /// The sharing of an address of this kind, if the fleet's is `sharing`.
    pub(super) fn sharing_for(&self, sharing: Sharing) -> Sharing {
        if self.endpoint.is_activated() { Sharing::Shared } else { sharing_at(&self.place, sharing) }
    }

    /// Opens the missing sockets up to this slot's.
    fn open_up_to(&mut self, slot: usize) -> io::Result<()> {
        let Place::Tcp(place) = self.place else { return Ok(()) };
        while self.sockets.len() <= slot && self.sharing == Sharing::Reuseport {
            if let Some(first) = self.sockets.first() {
                // Before an upgrade it may have been the only one.
                sys::join_reuseport_group(first)?;
            }
            let socket = bind::bind_another(place)?;
            self.options.apply(&socket).map_err(io::Error::other)?;
            socket.listen(self.options.backlog())?;
            self.sockets.push(Arc::new(socket));
        }
        Ok(())
    }

    /// The socket that the slot's child accepts from.
    pub(super) fn of_slot(&self, slot: usize) -> Option<&Arc<Socket>> {
        match self.sharing {
            Sharing::Shared => self.sockets.first(),
            Sharing::Reuseport => self.sockets.get(slot),
        }
    }

    /// The sockets that have a place of their own: of each slot, or the one that all share.
    pub(super) fn told(&self) -> &[Arc<Socket>] {
        match self.sharing {
            Sharing::Shared => self.sockets.get(..1).unwrap_or_default(),
            Sharing::Reuseport => &self.sockets,
        }
    }

    /// The socket that only this slot's child accepts from.
    pub(super) fn own_of(&self, slot: usize) -> Option<&Socket> {
        self.sockets.get(slot).filter(|_| self.sharing == Sharing::Reuseport).map(|socket| &**socket)
    }

    /// Whether a child that is started in one of the slots gets this socket.
    fn is_needed(&self, place: usize, slots: usize) -> bool {
        !self.leaves && place < if self.sharing == Sharing::Shared { 1 } else { slots }
    }

    /// Closes the sockets that no slot needs and no child holds, from the last on, so that the order stays.
    /// Returns whether connections were queued there.
    pub(super) fn close_unneeded(&mut self, slots: usize, holders: &Holders) -> bool {
        let mut queued = false;
        let before = self.sockets.len();
        while let Some(last) = self.sockets.last() {
            if self.is_needed(self.sockets.len() - 1, slots) || holders.is_held(last) {
                break;
            }
            queued |= !self.endpoint.is_activated() && sys::has_queue(last);
            self.sockets.pop();
        }
        if self.sharing == Sharing::Shared && self.sockets.len() == 1 && before > 1 {
            self.leave_kernel_group();
        }
        queued
    }

    /// Whether no other child accepts from this socket of the group, now or later.
    pub(super) fn is_last_on(&self, socket: &Arc<Socket>, slots: usize, holders: &Holders) -> bool {
        let place = self.sockets.iter().position(|own| Arc::ptr_eq(own, socket));
        let needed = |place| self.is_needed(place, slots);
        !self.endpoint.is_activated() && !place.is_none_or(needed) && !holders.is_live(socket)
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

    /// Gives up the address: new connections are refused, or go to another socket there. Returns whether it
    /// had not been given up.
    pub(super) fn give_up_address(&mut self) -> bool {
        if self.refuses || self.endpoint.is_activated() {
            return false;
        }
        let withdraw = |socket: &Arc<Socket>| sys::withdraw_listener(socket).is_ok();
        let is_tcp = matches!(self.place, Place::Tcp(_));
        if !is_tcp || !self.sockets.iter().all(withdraw) {
            self.refuse_connections();
        }
        // What could not be refused is not tried again.
        self.refuses = true;
        true
    }

    /// Whether connections are queued, no new ones can come, and a child accepts them.
    pub(super) fn has_last_queue(&self, holders: &Holders) -> bool {
        self.refuses && self.has_queue(|socket| holders.is_accepted(socket))
    }

    /// Whether connections are queued that no child accepts, and no new ones can come.
    pub(super) fn has_orphaned_queue(&self, holders: &Holders) -> bool {
        self.refuses && self.has_queue(|socket| !holders.is_accepted(socket))
    }

    fn has_queue(&self, of: impl Fn(&Arc<Socket>) -> bool) -> bool {
        self.sockets.iter().any(|socket| of(socket) && sys::has_queue(socket))
    }

    /// Closes the master's descriptors, and removes a socket's file.
    pub(super) fn close(&mut self) {
        self.file = None;
        for socket in self.sockets.drain(..) {
            sys::close_for_all(&socket);
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

/// A socket that does not listen yet.
struct Bound<'a> {
    socket: Socket,
    place: Place,
    file: Option<SocketFile>,
    /// What has to last until it listens.
    lent: Option<Lent<'a>>,
}

fn bind<'a>(
    place: Place,
    sharing: Sharing,
    options: SocketOptions,
    leaving: &[&'a Socket],
) -> io::Result<Bound<'a>> {
    let (socket, place, file, lent) = match place {
        Place::Tcp(place) => {
            let (socket, lent) = bind::bind_first_possible(place, sharing.in_effect(), leaving)?;
            let addr = socket.local_addr()?.as_socket();
            let addr = addr.ok_or_else(|| io::Error::other("the system bound no IP socket"))?;
            let place = TcpPlace { addr, dual_stack: place.dual_stack && addr.is_ipv6() };
            (socket, Place::Tcp(place), None, lent)
        }
        Place::Path(path) => {
            let (socket, file) = SocketFile::bind(&path, options.file)?;
            (socket, Place::Path(path), Some(file), None)
        }
        Place::Abstract(name) => (bind::bind_abstract(&name)?, Place::Abstract(name), None, None),
    };
    Ok(Bound { socket, place, file, lent })
}
