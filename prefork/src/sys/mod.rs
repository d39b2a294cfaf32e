//! The operating system, and the only code that differs by platform. It makes no decisions. `unsafe` is
//! allowed here. Imports nothing of the crate.
//!
//! `unix/` is common to every Unix. Where Linux and the other Unixes differ, a file of the same name in
//! `linux/` and in `fallback/` has the part that differs. `windows/` is complete. Each platform supplies
//! these names, by subject:
//!
//! **Program.** [`Program`] is the executable and its arguments, to start children of: on Unix the same file
//! that the master runs, even after its path has changed. `Program::exec` executes another program in the
//! master's own process; [`inheritance`] returns what that program takes over, and [`guard_inheritance`] keeps it
//! from others until then.
//!
//! **Event loop.** The master's [`Reactor`] starts, signals and reaps children, and waits for the first of:
//! a signal, a message from a child, a child's exit, a deadline. It runs in one thread, without timers.
//! `Reactor::attach` links a part of this process that plays a child.
//! Dropping it kills and reaps every child. `Reactor::take_requests` looks for signals without waiting.
//! [`HeldSignals`] keeps those that arrive for the program that is executed next, a [`TerminalGuard`] those of
//! a terminal from user code, and [`ignores_hangup`] tells whether `nohup` started this process. A [`Waker`]
//! ends its wait from another thread; [`spawn_thread`] starts such a thread, which receives no signals.
//!
//! **Link.** [`handshake_is_waiting`] distinguishes a child from a master. [`take_handshake`] takes the
//! handshake off standard input and removes the marker, so that a grandchild is not mistaken for a child.
//! The [`Channel`] that it returns carries lines, listeners and secrets. [`MasterLink`] is a child's end of
//! it: it waits for a [`LinkEvent`]. [`MasterSender`] is its sending half, which sends what must arrive, and at once or
//! not at all what may be lost.
//!
//! **Listeners.** [`NEEDS_REUSEPORT`], [`SHARES_ONE_SOCKET`] and [`JOINS_GROUPS_LATE`] describe how processes
//! can share an address; [`join_reuseport_group`], [`leave_reuseport_group`], [`is_in_reuseport_group`],
//! [`allow_quick_restart`], [`set_defer_accept`], [`set_fast_open`] and [`prefer_cpu`] set options; [`restore_listener`] undoes what a child has done to a
//! socket that it shares. [`steer`] and [`unsteer`] choose the sockets of a group
//! that get new connections; [`refuse_connections`] stops new ones, and [`withdraw_listener`] leaves them to
//! other sockets on the address; [`has_queue`] tells whether any are queued (and [`may_have_client`] so of an endpoint), and [`close_for_all`] closes a listener in every process. [`HAS_UNIX_SOCKETS`], [`SocketFile`],
//! [`UnixListener`], `TokioUnixListener`, [`into_unix_listener`] and [`unix_name`] are for Unix sockets;
//! [`activated`] returns the sockets that the service manager opened.
//!
//! **Control.** [`ControlListener`] and [`ControlStream`] are the master's control socket and its connections, and
//! [`peer_of`] tells the [`Peer`]; [`control_listener`], [`accept_control`], [`control_stream`], [`duplicate_control`]
//! and [`shut_down_control`] make and close them. [`NO_CONTROL_SOCKET`] says why a system has none.
//!
//! **Accept gate.** [`AcceptGate`] makes a child's server accept no more, although the server knows nothing
//! of it: `close` puts decoys in place of its listeners, `interrupt_accepts` and `wake_acceptors` reach
//! threads in `accept`, `has_connections`, `has_active_connections` and `queue_length` tell what is left.
//! [`HAS_IO_URING`] says whether a server may let the kernel accept for it.
//!
//! **Privileges.** [`find_user`], [`find_group`], [`groups_of`] and [`allowed_cpus`] look up what the options
//! name, and the functions `check_…` tell the master whether a child can apply an option. A child applies
//! them for the rest of its life with [`change_user`] ([`verify_user`] and [`has_no_new_privs`] tell
//! later that it has), [`refuse_tracing`] and [`restore_access_to_itself`], [`limit_open_files`], [`set_nice`], [`pin_to_cpu`],
//! [`set_no_new_privs`] and [`confine_to`].
//!
//! **Shared memory.** [`SharedMemory`] is memory for every process of a fleet, of a size that never changes; a
//! [`Mapping`] is a part of it as atomic words. `reserve` and `release` take memory for a part, and give it back.
//! [`monotonic_nanos`] is a time that all processes of a system agree on.
//!
//! **Service manager.** [`is_managed`] tells whether there is one, [`notify`] sends it [`Notice`]s, and
//! [`watchdog`] is the interval that it expects; [`stderr_is_journal`] tells whether its log has levels.
//!
//! **Metrics.** A [`UsageReader`] reads the [`ProcessUsage`] of children and of this process, a [`CpuClock`] the CPU time
//! alone, `listen_queue` the [`ListenQueue`] of a listener, and [`dropped_connections`] what the system has dropped. Each tells `None` where
//! the system does not.
//!
//! **Process.** [`set_title`] sets what `ps` shows; [`resident_bytes`], [`threads`] and [`other_threads`]
//! describe this process; [`exit_now`] ends it at once, and [`raise_stop_signal`] sends it the signal for
//! which a program may have a handler of its own; [`open_regular`] opens a file and nothing else, [`os_string`] is
//! the system's text from bytes, [`how_to_stop`] the operator's way to stop the master, and [`descriptor_limit`] how
//! many descriptors it may have. A [`PidFile`] tells others the pid of the master.
//!
//! **Template.** [`can_fork_for_parent`] tells whether this system has templates; [`fork_for_parent`] makes a child of
//! the parent, and tells in which process it returns: [`Forked`]; [`check_only_thread`] tells whether it would. [`tie_to_master`], [`restore_template`] and
//! [`ignore_stop_in_template`] are for a template, and [`use_huge_pages`] makes its forks fast; [`leave_template`] and
//! [`own_memory`] are for a child that it has forked. `Reactor::order_fork`, `note_pid`, `forget_order` and `kill_forked`
//! are for the master.
//!
//! **Errors.** [`is_transient`], [`is_shortage`] and [`lacks_ipv6`] interpret an error; [`shortage_hint`] and
//! [`ADDRESS_DENIED_HINT`] say what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, SystemTime};

use socket2::Socket;

mod cut_line;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod fallback;
mod inbox;
#[cfg(any(test, fuzzing))]
pub(crate) use inbox::fuzzing::lines_of_child;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod no_cpu_clock;
mod pid_text;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

#[cfg(not(any(unix, windows)))]
compile_error!("prefork runs on Unix and on Windows");

/// The environment variable that marks a child.
pub(crate) const MARKER: &str = "PREFORK_CHILD";

/// The environment variable that names what the previous program in this process passed to this one.
pub(crate) const STATE_VARIABLE: &str = "PREFORK_UPGRADE";

/// The environment variable by which an operator asks for a check of the configuration.
pub(crate) const CHECK_VARIABLE: &str = "PREFORK_CHECK";

/// The variables that set no option.
pub(crate) const OWN_VARIABLES: [&str; 3] = [MARKER, STATE_VARIABLE, CHECK_VARIABLE];

/// A user of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// Of its primary group.
    pub(crate) gid: u32,
}

/// A user and groups, by number. A process that changes to it keeps no privilege of root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups, without `gid`.
    pub(crate) groups: Vec<u32>,
}

/// The only files that a process confined by Landlock can open, and directories with everything beneath.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LandlockPaths {
    pub(crate) read: Vec<PathBuf>,
    /// To read and to write.
    pub(crate) write: Vec<PathBuf>,
}

/// What a process may do with a part of shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryAccess {
    Read,
    Write,
}

/// A request of an operator to the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop gracefully.
    Stop,
    /// Stop at once.
    Quit,
    /// Replace every child.
    Reload,
    /// Replace the master and every child.
    #[allow(dead_code, reason = "not every system lets a process become another program")]
    Upgrade,
    /// One child more.
    Grow,
    /// One child fewer.
    Shrink,
    /// Open log files again.
    ReopenLogs,
    /// No request: a terminal has sent the signal with this name, which is ignored by now.
    #[allow(dead_code, reason = "not every system has such terminals")]
    OfTerminal(&'static str),
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessUsage {
    /// Of a child: with that of the processes that it has started and waited for, except on Windows.
    pub(crate) cpu: Duration,
    /// Bytes of resident memory.
    pub(crate) resident: u64,
    pub(crate) started_at: SystemTime,
    /// Descriptors, or handles on Windows.
    pub(crate) open_files: Option<u64>,
}

/// The memory of this process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OwnMemory {
    pub(crate) resident: u64,
    /// What of it no other process has.
    pub(crate) private: u64,
    /// A page for each page fault that it has ever had: it has brought in a page, or more than one, or has copied one.
    pub(crate) faulted: u64,
}

/// The connections that wait to be accepted from a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenQueue {
    pub(crate) length: u32,
    pub(crate) limit: u32,
    /// Packets for it that were dropped so far: those of new connections, while the queue is full.
    pub(crate) drops: Option<u32>,
}

/// The connections that the kernel has dropped, of every listener in a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DroppedConnections {
    /// Because the queue of the listener was full.
    pub(crate) overflows: u64,
    /// For any reason.
    pub(crate) drops: u64,
}

/// What a [`Reactor`] waits for. `K` is the caller's key of a child.
#[derive(Debug)]
pub(crate) enum ProcessEvent<K> {
    /// A signal for the master.
    Signal(Signal),
    /// A line from a child.
    Message(K, String),
    /// A child has closed its end of the channel. It may be alive.
    HungUp(K),
    /// A child has sent what no prefork process sends, described by the text. Its channel is not read
    /// any more.
    BadMessage(K, String),
    /// A child has exited and is reaped; its key is free. With the CPU time that it used.
    Exited(K, ExitStatus, Duration),
}

/// The process at the other end of a control connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    /// `None` where the system does not tell, and of a process in another container.
    pub(crate) pid: Option<u32>,
}

/// A listening socket that the service manager opened for this program.
#[derive(Debug)]
pub(crate) struct Activated {
    /// The service manager's name for it; several sockets can have the same name.
    pub(crate) name: String,
    pub(crate) socket: Socket,
}

/// A notice to the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice<'a> {
    /// The start, or the reload, is complete.
    Ready,
    /// A reload begins.
    Reloading,
    /// The stop begins.
    Stopping,
    /// A text for the operator.
    Status(&'a str),
    /// The start, the reload or the stop may take this long from now.
    ExtendTimeout(Duration),
    /// The master is alive.
    Watchdog,
}

/// What a child's [`MasterLink`] waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// A request to stop that is not the master's: a signal to this process.
    #[allow(dead_code, reason = "not every system has signals")]
    Signalled,
    /// A line from the master.
    Message(String),
    /// The master is dead.
    Orphaned,
    /// Nothing happened within the timeout.
    None,
}

/// What a child is started with.
#[derive(Debug)]
pub(crate) struct Handover<'a> {
    pub(crate) handshake: &'a str,
    pub(crate) listeners: &'a [&'a Socket],
    /// May be empty.
    #[cfg_attr(windows, expect(dead_code, reason = "not every system hands them over"))]
    pub(crate) secrets: &'a str,
    pub(crate) memory: Option<&'a SharedMemory>,
}

/// Why there is no fork.
#[derive(Debug)]
#[allow(dead_code, reason = "not every system forks")]
pub(crate) enum NotForked {
    /// There are other threads, with these names; or the system does not tell.
    Threads(io::Result<Vec<String>>),
    /// The system refuses it, with this number.
    System(i32),
}

/// The process in which a fork returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "not every system forks")]
pub(crate) enum Forked {
    /// The template, with the pid of the child.
    Template(u32),
    /// The child.
    Child,
}

/// What the previous program in this process passed to this one; see `Program::exec`.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) text: String,
    pub(crate) listeners: Vec<Socket>,
    pub(crate) channels: Vec<Channel>,
}

/// Mode and owner of the file of a Unix socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SocketFileOptions {
    /// By default, the permissions that the process's umask allows.
    pub(crate) mode: Option<u32>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// A user's replacement of [`Command::spawn`]. While it runs, the child's standard input is also the
/// master's own, because a wrapping command passes on the standard input that it has inherited.
pub(crate) type Producer<'a> = dyn Fn(Command) -> io::Result<Child> + 'a;

/// The role of this process, according to standard input and the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Neither a handshake nor the marker.
    Master,
    /// A handshake is waiting.
    Child,
    /// The marker, but no handshake.
    Stray,
}

/// Returns the role of this process. A handshake begins with `prefix`.
///
/// The handshake decides, even if a wrapper has cleared the environment: a child that is mistaken for a
/// master would start children, and so would these.
pub(crate) fn role(prefix: &str) -> Role {
    if handshake_is_waiting(prefix) {
        Role::Child
    } else if std::env::var_os(MARKER).is_some() {
        Role::Stray
    } else {
        Role::Master
    }
}
