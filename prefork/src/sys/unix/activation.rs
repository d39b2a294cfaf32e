//! Sockets that a service manager opened for this program (`sd_listen_fds(3)`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Socket, Type};

use super::exec;
use crate::sys::Activated;

/// The sockets, in the order in which they were passed. They are this process's to take once; for a
/// program that takes over from another one in the same process, that one has taken them.
pub(crate) fn activated() -> io::Result<Vec<Activated>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if exec::is_successor() || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    // No socket may come with one name, which is empty.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    let mut activated = Vec::with_capacity(passed.len());
    for (number, name) in passed {
        // SAFETY: it is open, for the library has just set a flag of it; by the word of the service
        // manager it is this process's to have, and nobody here has been told of it before.
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(number) });
        check(&socket).map_err(|reason| {
            io::Error::other(format!("its socket `{name}` (descriptor {number}) {reason}"))
        })?;
        // Whoever wants that says so himself; with the others, `accept` is to wait.
        socket.set_nonblocking(false)?;
        activated.push(Activated { name, socket });
    }
    Ok(activated)
}

fn check(socket: &Socket) -> Result<(), &'static str> {
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let is_stream = is_stream && socket.is_listener().unwrap_or(false);
    if is_stream { Ok(()) } else { Err("does not listen for connections: use ListenStream= and Accept=no") }
}

/// The address of a Unix socket, as [`Endpoint`](crate::listen::Endpoint) writes it.
pub(crate) fn unix_name(socket: &Socket) -> io::Result<String> {
    let addr = socket.local_addr()?;
    let path = addr.as_pathname().map(|path| path.to_string_lossy().into_owned());
    let name = || addr.as_abstract_namespace().map(|name| format!("@{}", String::from_utf8_lossy(name)));
    path.or_else(name).ok_or_else(|| io::Error::other("the socket has no address"))
}
