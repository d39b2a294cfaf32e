//! A listening Unix socket that no client knows.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use socket2::Socket;

/// Under an abstract name that the kernel chose.
pub(in crate::sys) fn listen_on_unix_socket() -> io::Result<Socket> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    nix::sys::socket::listen(&socket, Backlog::new(16)?)?;
    Ok(socket.into())
}
