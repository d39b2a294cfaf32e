//! The control socket: its listener and connections, and who is at the other end.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Uid;
use socket2::Socket;

use crate::sys::Peer;

/// Why a master on this system cannot have a control socket.
pub(crate) const NO_CONTROL_SOCKET: Option<&str> = None;

pub(crate) type ControlListener = mio::net::UnixListener;
pub(crate) type ControlStream = mio::net::UnixStream;

/// A listener that is another descriptor of this socket.
pub(crate) fn control_listener(socket: &Socket) -> io::Result<ControlListener> {
    let listener = std::os::unix::net::UnixListener::from(OwnedFd::from(socket.try_clone()?));
    listener.set_nonblocking(true)?;
    Ok(ControlListener::from_std(listener))
}

pub(crate) fn accept_control(listener: &ControlListener) -> io::Result<ControlStream> {
    listener.accept().map(|(stream, _)| stream)
}

/// The connection that another program has accepted.
pub(crate) fn control_stream(socket: Socket) -> io::Result<ControlStream> {
    let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(socket));
    stream.set_nonblocking(true)?;
    Ok(ControlStream::from_std(stream))
}

/// Another descriptor of the connection.
pub(crate) fn duplicate_control(stream: &ControlStream) -> io::Result<Socket> {
    stream.as_fd().try_clone_to_owned().map(Socket::from)
}

pub(crate) fn shut_down_control(stream: &ControlStream, how: Shutdown) -> io::Result<()> {
    stream.shutdown(how)
}

/// The process that has made the connection, as it was then.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_of(stream: &ControlStream) -> Option<Peer> {
    let peer = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(Peer { uid: peer.uid(), pid: u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0) })
}

/// The user of the process that has made the connection, as it was then.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn peer_of(stream: &ControlStream) -> Option<Peer> {
    let (uid, _) = nix::unistd::getpeereid(stream).ok()?;
    Some(Peer { uid: uid.as_raw(), pid: None })
}

impl Peer {
    /// Whether the process may control the master: it is root's, or of the master's own user.
    pub(crate) fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == Uid::effective().as_raw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_is_this_process_and_trusted() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let stream = control_stream(Socket::from(OwnedFd::from(ours))).unwrap();
        let peer = peer_of(&stream).unwrap();
        assert_eq!(peer.uid, Uid::effective().as_raw());
        assert!(peer.is_trusted());
        if cfg!(target_os = "linux") {
            assert_eq!(peer.pid, Some(std::process::id()));
        }
        let other = Peer { uid: peer.uid.wrapping_add(1), pid: None };
        assert!(!other.is_trusted());
    }
}
