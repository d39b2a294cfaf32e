//! Windows: pipes, events, threads, a socket that processes share.
//!
//! # One socket for the fleet
//!
//! A fleet on Windows has to set `reuseport`, as with fasthttp's prefork, but its children share one socket.
//! There are two ways to share an address:
//!
//! - Each child listens on a socket of its own, all with `SO_REUSEADDR`. Windows calls the behaviour of such
//!   sockets indeterminate: in practice one of them gets every connection until it closes. The option also
//!   lets any other program take the port, and what is queued on the socket of a dead child is lost.
//! - The master listens, and each child gets a handle to the same socket (`WSADuplicateSocketW`). A child in
//!   `accept` gets the next connection, a child's death loses nothing that is queued, a busy port is the
//!   master's error, and port 0 is one port for all.
//!
//! This module shares one socket. That needs the child's pid, so the listener follows the handshake once the
//! child has sent its pid: a user's wrapper may have started it.
//!
//! The socket has neither `SO_REUSEADDR` nor `SO_EXCLUSIVEADDRUSE`. Without either, Windows refuses a second
//! socket on the port unless that one has `SO_REUSEADDR` and belongs to the same user, who could as well
//! kill this process. The exclusive option would prevent that too, but it refuses the port while connections
//! of the previous run are in TIME_WAIT: a server could not be restarted at once.
//!
//! # Stopping
//!
//! A stop is a message on the pipe. A child's accept gate cannot be closed: nothing can replace the object
//! behind a handle, and closing a handle that its owner uses is unsafe. So, when the fleet stops, the master
//! makes the socket itself refuse new connections (`SO_PAUSE_ACCEPT`; a system without it goes on accepting),
//! and every child continues until the address has no connection of any child left, or the grace is over. The
//! system's table does not tell which child holds a connection: it names one owner, and if processes share a
//! listener, that need not be the one that accepted. A server that takes `Shutdown` is woken from `accept` by
//! an error and can leave its loop. It should serve what it has accepted before it checks the flag. From then
//! on only the child's own connections count, which are among its handles.
//!
//! The same holds if one child stops while its siblings stay (a reload, a recycling), except that the socket
//! stays open. A busy fleet may then always have a connection. A child whose server does not take `Shutdown`
//! then accepts until its grace is over and it is killed, and a connection that it accepted just before is
//! reset.
//!
//! # The master's death
//!
//! A child reads the end of the pipe and drains, for at most its grace; until then the orphans hold the port.
//! A child that has not asked for its listeners finds the pipe closed, and exits. The last of them closes the
//! [job](job), which ends the processes that are left. If only the master held the job, as is usual, the
//! system would kill the children before they drain and run `on_master_death`.
//!
//! One gap remains: a master that is killed while the system creates a process for it may leave a process
//! that never runs and holds nothing.

mod accept_gate;
mod channel;
mod child_thread;
mod connections;
mod console;
mod control_socket;
mod controls;
mod errors;
mod job;
mod listener;
mod master_link;
mod object;
mod pid_file;
mod pipe;
mod privileges;
mod process;
mod program;
mod reactor;
mod role;
mod service;
mod shared_memory;
mod socket;
mod socket_file;
mod template;
mod usage;

pub(crate) use accept_gate::{AcceptGate, HAS_IO_URING};
pub(crate) use channel::Channel;
pub(crate) use control_socket::{
    ControlListener, ControlStream, NO_CONTROL_SOCKET, accept_control, control_listener, control_stream,
    duplicate_control, peer_of, shut_down_control,
};
pub(crate) use errors::{is_shortage, is_transient, lacks_ipv6, shortage_hint};
pub(crate) use listener::{
    ADDRESS_DENIED_HINT, HAS_UNIX_SOCKETS, JOINS_GROUPS_LATE, NEEDS_REUSEPORT, SHARES_ONE_SOCKET,
    allow_quick_restart, has_queue, is_in_reuseport_group, join_reuseport_group, leave_reuseport_group,
    listen_queue, may_have_client, prefer_cpu, refuse_connections, restore_listener, set_defer_accept,
    set_fast_open, steer, unsteer, withdraw_listener,
};
pub(crate) use master_link::{MasterLink, MasterSender};
pub(crate) use pid_file::PidFile;
pub(crate) use privileges::{
    allowed_cpus, change_user, check_landlock, check_may_change_user, check_nice, check_no_new_privs,
    check_open_files, confine_to, find_group, find_user, groups_of, has_no_new_privs, limit_open_files,
    pin_to_cpu, refuse_tracing, restore_access_to_itself, set_nice, set_no_new_privs, verify_user,
};
pub(crate) use process::{
    descriptor_limit, exit_now, how_to_stop, monotonic_nanos, open_regular, os_string, other_threads,
    resident_bytes, set_title, threads,
};
pub(crate) use program::{Program, guard_inheritance, inheritance};
pub(crate) use reactor::{
    HeldSignals, Reactor, TerminalGuard, Waker, ignores_hangup, raise_stop_signal, spawn_thread,
};
pub(crate) use role::{handshake_is_waiting, take_handshake};
pub(crate) use service::{activated, is_managed, notify, stderr_is_journal, watchdog};
pub(crate) use shared_memory::{Mapping, SharedMemory};
pub(crate) use socket::close_for_all;
#[cfg(feature = "tokio")]
pub(crate) use socket_file::TokioUnixListener;
pub(crate) use socket_file::{SocketFile, UnixListener, into_unix_listener, unix_name};
pub(crate) use template::{
    can_fork_for_parent, check_only_thread, fork_for_parent, ignore_stop_in_template, leave_template,
    own_memory, restore_template, tie_to_master, use_huge_pages,
};
pub(crate) use usage::{CpuClock, UsageReader, dropped_connections};
