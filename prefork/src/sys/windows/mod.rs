//! Windows: pipes, events, threads, a socket that processes share.
//!
//! # One socket for the fleet
//!
//! A fleet on Windows has to ask for `reuseport`, as it had to in the seed; what it gets is better
//! than what the word promises there. Two ways were weighed:
//!
//! - Each child listens on a socket of its own, all with `SO_REUSEADDR`. Windows calls the behaviour
//!   of such sockets indeterminate: in practice one of them gets every connection until it closes.
//!   The option also lets any other program take the port, and what is queued on the socket of a
//!   child that dies is lost.
//! - The master listens, and each child gets a handle to the very same socket (`WSADuplicateSocketW`).
//!   Whoever is in `accept` gets the next connection, a child's death loses nothing that is queued,
//!   a busy port is the master's error and port 0 is one port for all.
//!
//! It is the second. The child's pid has to be known for it, so the listener follows the greeting
//! once the child has told its pid itself: it may have been started by a wrapper of the user's.
//!
//! Neither `SO_REUSEADDR` nor `SO_EXCLUSIVEADDRUSE` is set on it. Without either, Windows refuses a
//! second socket on the port unless it asks for `SO_REUSEADDR` and belongs to the same user, who
//! could as well end this process. The exclusive option would shut that gap too, but refuses the
//! port while connections of the last run linger: a server could not be restarted at once.
//!
//! # Stopping
//!
//! A stop is a word on the pipe, and a child can no more be made to stop accepting than any program
//! whose socket is its own business: nothing can be put over a handle, and closing it under its
//! owner's feet is no option. So, when the fleet stops, the master has the socket itself refuse new
//! connections (`SO_PAUSE_ACCEPT`; where the system knows no such thing, they still come in), and
//! every child goes on until no connection to the address is left, of any child, or the grace is over.
//! Which child holds it is not asked of the system's table: Windows names one owner of a connection, and
//! where processes share the listener that need not be the one that accepted it.
//! A server that takes `Shutdown` is woken from `accept` by an error and can leave its loop; it should
//! serve what it has accepted before it looks at the flag, for nobody else will. From then on only the
//! child's own connections count, which it finds among its handles.
//!
//! The same holds where one child goes while its siblings stay (a reload, a limit on its life), except
//! that the socket stays open. A busy fleet may then never be without a connection, so that a child
//! whose server does not take `Shutdown` goes on accepting until its grace is over and it is killed;
//! and one that comes in just as it leaves is cut.
//!
//! # The master's death
//!
//! A child sees the end of the pipe and drains, for at most its grace; until then the orphans hold the
//! port. A child that has not come for its listeners finds the pipe closed, and ends. A [job](job) that
//! is closed with the last of them makes sure that nothing is left then. Were the master the only one
//! to hold it, as such jobs are mostly used, it would kill the children at the very moment in which they
//! are to drain and to run `on_master_death`.
//!
//! What no job helps with: a master that is killed while the system creates a process for it may leave
//! one behind that never runs a line, and that has nothing.

mod accept_gate;
mod attendant;
mod channel;
mod connections;
mod console;
mod controls;
mod job;
mod master_link;
mod object;
mod pipe;
mod privileges;
mod program;
mod reactor;
mod role;
mod service;
mod socket;
mod socket_file;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use socket2::Socket;
use windows_sys::Win32::Foundation::{
    ERROR_COMMITMENT_LIMIT, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_ENOUGH_QUOTA,
    ERROR_OUTOFMEMORY, ERROR_SHARING_VIOLATION, ERROR_TOO_MANY_OPEN_FILES,
};
use windows_sys::Win32::Networking::WinSock::{WSAEADDRNOTAVAIL, WSAEAFNOSUPPORT, WSAEMFILE, WSAENOBUFS};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

pub(crate) use accept_gate::AcceptGate;
pub(crate) use channel::Channel;
pub(crate) use master_link::{MasterLink, MasterSender};
pub(crate) use privileges::{
    allowed_cpus, assume, check_landlock, check_may_change_user, check_nice, check_no_new_privs,
    check_open_files, confine_to, find_group, find_user, groups_of, limit_open_files, other_threads,
    pin_to_cpu, prefer_cpu, refuse_new_privileges, set_nice,
};
pub(crate) use program::Program;
pub(crate) use reactor::{Reactor, Waker, spawn_thread};
pub(crate) use role::{adopt, handshake_is_waiting};
pub(crate) use service::{activated, is_managed, notify, unix_name, watchdog};
pub(crate) use socket::close_for_all;
#[cfg(feature = "tokio")]
pub(crate) use socket_file::TokioUnixListener;
pub(crate) use socket_file::{SocketFile, UnixListener, into_unix_listener};

use super::Inheritance;

/// Text of the system's, from the bytes of its UTF-8; `None` if they are none.
pub(crate) fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(OsString::from)
}

/// Windows has some, but neither the standard library nor tokio knows them.
pub(crate) const HAS_UNIX_SOCKETS: bool = false;

/// The seed's contract: a program says that it knows how things are here.
pub(crate) const NEEDS_REUSEPORT: bool = true;

/// See the [module](self).
pub(crate) const SHARES_ONE_SOCKET: bool = true;

/// There are no groups to join.
pub(crate) const JOINS_GROUPS_LATE: bool = false;

/// Nobody asks for it: see [`SHARES_ONE_SOCKET`].
pub(crate) fn join_reuseport_group(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Windows does so by itself. The option that stands for it elsewhere would let others take the
/// address away.
pub(crate) fn allow_quick_restart(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// How an operator stops the master with this pid.
pub(crate) fn how_to_stop(master: u32) -> String {
    format!("Ctrl-C or the event {}", controls::name(master, "stop"))
}

/// What to do where the system refuses an address to this user.
pub(crate) const ADDRESS_DENIED_HINT: &str = "another program has it for itself, or Windows has reserved it \
     (`netsh interface ipv4 show excludedportrange tcp` tells): choose another port";

/// What to do where the system is out of something that a process or a socket needs.
pub(crate) fn shortage_hint(error: &io::Error) -> Option<&'static str> {
    if is_out_of_descriptors(error) {
        Some("end what holds many handles or lower `workers`")
    } else if error.kind() == io::ErrorKind::OutOfMemory {
        Some("free memory, enlarge the paging file or lower `workers`")
    } else {
        None
    }
}

/// Ends this process at once: no destructor, no exit handler, no flush.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: plain numbers; the pseudo handle of this process is always valid.
    unsafe { TerminateProcess(GetCurrentProcess(), u32::from_ne_bytes(status.to_ne_bytes())) };
    // Not reached, unless the system refuses a process its own end.
    std::process::abort()
}

pub(crate) fn set_defer_accept(_socket: &Socket, _limit: Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn set_fast_open(_socket: &Socket, _queue: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
/// A process is called as its file is.
pub(crate) fn set_title(_title: &str, _name: &str) {}

/// Nothing: a process cannot become another program here.
pub(crate) fn inheritance() -> io::Result<Option<Inheritance>> {
    Ok(None)
}

/// There is no group of sockets to steer between.
pub(crate) fn steer(_socket: &Socket, _targets: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn unsteer(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// The length of a queue is unknown, so the master does not wait for it to become empty.
pub(crate) fn refuse_connections(_listener: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn has_queue(_listener: &Socket) -> bool {
    false
}

/// How much memory this process occupies now.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).map_err(io::Error::other)?;
    let mut counters = PROCESS_MEMORY_COUNTERS { cb: size, ..PROCESS_MEMORY_COUNTERS::default() };
    // SAFETY: the system writes at most `size` bytes into `counters`.
    object::check(unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) })?;
    u64::try_from(counters.WorkingSetSize).map_err(io::Error::other)
}

/// Not to be known from inside without a debugger's library; the crash dump tells.
pub(crate) fn threads() -> Vec<String> {
    Vec::new()
}

/// Whether starting a process failed for want of something that may be there later.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    // The last one: somebody has the program's file open to write to it.
    const WANTS: [u32; 6] = [
        ERROR_NOT_ENOUGH_MEMORY,
        ERROR_OUTOFMEMORY,
        ERROR_COMMITMENT_LIMIT,
        ERROR_NO_SYSTEM_RESOURCES,
        ERROR_NOT_ENOUGH_QUOTA,
        ERROR_SHARING_VIOLATION,
    ];
    let is_want = code_of(error).is_some_and(|code| WANTS.contains(&code));
    is_want || is_out_of_descriptors(error) || error.raw_os_error() == Some(WSAENOBUFS)
}

/// Whether the process or the system has no handle left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    code_of(error) == Some(ERROR_TOO_MANY_OPEN_FILES) || error.raw_os_error() == Some(WSAEMFILE)
}

/// Whether the error means that this machine does not speak IPv6.
pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(WSAEAFNOSUPPORT | WSAEADDRNOTAVAIL))
}

/// The system's number for the error, in the type of its own constants.
fn code_of(error: &io::Error) -> Option<u32> {
    error.raw_os_error().and_then(|code| u32::try_from(code).ok())
}
