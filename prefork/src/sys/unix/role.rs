//! The role of this process, and the handshake of a child.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::libc;
use nix::sys::socket::{MsgFlags, recv};

use super::program::close_pin;
use super::signals::ignore_requests;
use super::{Channel, platform};
use crate::sys::MARKER;

/// Whether a handshake, which begins with `prefix`, waits on standard input. Consumes nothing and does not
/// block: the master writes the handshake before it starts the child, so it is there from the beginning.
pub(crate) fn handshake_is_waiting(prefix: &str) -> bool {
    let mut start = vec![0; prefix.len()];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let peeked = recv(libc::STDIN_FILENO, &mut start, flags);
    peeked == Ok(start.len()) && start == prefix.as_bytes()
}

/// Moves the handshake from standard input to another descriptor, replaces standard input by the null
/// device, and removes the marker, so that no process that this one starts is mistaken for a child. From
/// then on, signals that are requests to a master are ignored. Call it once, in a process whose
/// [`role`](crate::sys::role) is child.
pub(crate) fn take_handshake() -> io::Result<Channel> {
    ignore_requests()?;
    let handshake = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    close_pin();
    if platform::process::is_single_threaded() {
        // SAFETY: no other thread exists that could read the environment at the same time. Where
        // there is one (a program that starts threads before it asks for its role), the marker
        // stays; a grandchild that is a prefork program itself is then refused, with a message.
        unsafe { env::remove_var(MARKER) };
    }
    platform::program::restore_process_name();
    Ok(Channel::to_master(UnixStream::from(handshake)))
}
