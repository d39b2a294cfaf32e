//! Sockets that a service manager opened for this program (`sd_listen_fds(3)`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Socket, Type};

use super::exec::took_over;
use crate::sys::Activated;

/// The sockets, in the order in which they were passed. The first call takes them. A program that was
/// executed in place of another gets none: that one has taken them.
pub(crate) fn activated() -> io::Result<Vec<Activated>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if took_over() || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    // The library returns one empty name where no socket was passed.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    let mut activated = Vec::with_capacity(passed.len());
    for (number, name) in passed {
        // SAFETY: it is open, because the library has just set a flag of it. The service manager passed
        // it to this process, and no other code here has taken it.
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(number) });
        check(&socket).map_err(|reason| {
            io::Error::other(format!("its socket `{name}` (descriptor {number}) {reason}"))
        })?;
        // `accept` blocks unless the serve function wants otherwise.
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
