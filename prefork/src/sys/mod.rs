//! The only place that differs by platform: what the rest of the crate needs of the operating
//! system, and nothing that it could decide for itself. `unsafe` is allowed here and nowhere else.
//!
//! Each platform supplies, under the same names:
//!
//! In the master
//! - [`Program`]: this program, to be started again. On Unix it is the very file that the master
//!   runs, whatever has become of its name since.
//! - [`Reactor`]: starts, signals and reaps children, and waits for whatever comes first: a signal,
//!   a child's word, a child's end, a deadline. One thread; no wake-up without a cause. Dropping it
//!   kills and reaps every child that is left. [`Waker`]: asks it to stop, from another thread.
//! - `Program::exec` and [`inheritance`]: another program in the master's own process, and what it
//!   finds there.
//! - [`NEEDS_REUSEPORT`], [`SHARES_ONE_SOCKET`], [`JOINS_GROUPS_LATE`]: how processes can share an
//!   address; [`join_reuseport_group`], [`allow_quick_restart`]: options of its sockets.
//! - [`steer`], [`unsteer`]: which sockets of a reuseport group get new connections; [`refuse_connections`]: a
//!   listener gets none any more; [`has_queue`]: whether connections wait on one.
//! - [`HAS_UNIX_SOCKETS`], and [`SocketFile`]: one in the file system; [`set_defer_accept`],
//!   [`set_fast_open`]: options of TCP listeners that not every system has.
//! - [`prefer_cpu`]: which socket of a group is to get what arrives on a CPU.
//! - [`find_user`], [`find_group`], [`groups_of`], [`allowed_cpus`] and the functions named `check_…`:
//!   whether this process can have its children take on what the options ask for.
//! - [`close_for_all`]: closes a listener that no process is to accept from any more.
//! - [`Waker`]: has a reactor return from its wait, from another thread; [`spawn_thread`]: such a
//!   thread, which gets no signal that is meant for the master.
//! - [`activated`], [`unix_name`]: sockets that the service manager opened, and what they are;
//!   [`is_managed`], [`notify`], [`watchdog`]: it is told something.
//!
//! In a child
//! - [`handshake_is_waiting`]: whether a master started this process.
//! - `Channel::take_secrets`: what the master has for this child that nobody else may see, where it
//!   can be handed over.
//! - [`adopt`]: takes the handshake off standard input, and erases the traces that would make a
//!   grandchild take itself for a child.
//! - [`assume`], [`limit_open_files`], [`set_nice`], [`pin_to_cpu`], [`refuse_new_privileges`],
//!   [`confine_to`]: the privileges that it takes on, for ever.
//! - [`MasterLink`]: waits until the master wants a stop, or is dead; [`MasterSender`]: tells the master something.
//! - [`AcceptGate`]: the listeners, as a thing that can be shut while a server that knows nothing of it
//!   sits in `accept`.
//! - [`resident_bytes`], [`threads`]: how large it is, and where its threads are.
//! - [`exit_now`]: ends the process without running anything more of it.
//!
//! In both
//! - [`set_title`]: what `ps` shows of this process.
//! - [`os_string`]: text of the system's, from bytes.
//! - [`is_transient`], [`lacks_ipv6`]: what an error means; [`shortage_hint`],
//!   [`ADDRESS_DENIED_HINT`], [`how_to_stop`]: what to do about it, in the platform's own terms.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use socket2::Socket;

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

/// The environment variable that makes a child's role known.
pub(crate) const MARKER: &str = "PREFORK_CHILD";

/// The environment variable by which a program finds what the one before it in the same process left.
pub(crate) const STATE_VARIABLE: &str = "PREFORK_UPGRADE";

/// The variables that are not for an operator to set.
pub(crate) const OWN_VARIABLES: [&str; 2] = [MARKER, STATE_VARIABLE];

/// A user of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// Of its primary group.
    pub(crate) gid: u32,
}

/// What an operator sends to the master.
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
}

/// Something that a [`Reactor`] waited for. `K` is the caller's name for a child.
#[derive(Debug)]
pub(crate) enum ProcessEvent<K> {
    /// A signal for the master.
    Signal(Signal),
    /// A line that a child said.
    Said(K, String),
    /// A child has closed its end of the handshake. It may be alive.
    HungUp(K),
    /// A child has ended and is reaped; its key is free.
    Exited(K, ExitStatus),
}

/// A listening socket that the service manager opened for this program.
#[derive(Debug)]
pub(crate) struct Activated {
    /// What the service manager calls it; several may have one name.
    pub(crate) name: String,
    pub(crate) socket: Socket,
}

/// What a service manager can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice<'a> {
    /// The start, or the reload, is over.
    Ready,
    /// A reload has begun, now.
    Reloading,
    /// The end has begun.
    Stopping,
    /// What to show to an operator.
    Status(&'a str),
    /// Not to lose patience with the start, the reload or the end for this long from now.
    ExtendTimeout(Duration),
    /// A sign of life.
    Watchdog,
}

/// What a child's [`MasterLink`] waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The master, or an operator, wants this child to stop.
    Stop,
    /// The master said something.
    Said(String),
    /// The master is gone.
    Orphaned,
    /// Neither, within the time given.
    None,
}

/// What the program that this process ran before left for this one; see `Program::exec`.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) text: String,
    pub(crate) listeners: Vec<Socket>,
    pub(crate) channels: Vec<Channel>,
}

/// What the file of a Unix socket is to be like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SocketFileOptions {
    /// Its permissions; by default those that the mask of the process leaves.
    pub(crate) mode: Option<u32>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// What a user may have in place of [`Command::spawn`]. While it runs, the child's standard input is the
/// master's own as well: a command that wraps another hands on what it has inherited.
pub(crate) type Producer<'a> = dyn Fn(Command) -> io::Result<Child> + 'a;

/// What the environment and standard input say of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nobody marked it.
    Master,
    /// A master started it, and its handshake is waiting.
    Child,
    /// It is marked, but there is no handshake.
    Stray,
}

/// Whether a master started this process; its handshake begins with `greeting`.
///
/// The handshake decides, also where somebody has cleared the environment on the way: a child that
/// took itself for a master would start children of its own, and those too, without end.
pub(crate) fn role(greeting: &str) -> Role {
    if handshake_is_waiting(greeting) {
        Role::Child
    } else if std::env::var_os(MARKER).is_some() {
        Role::Stray
    } else {
        Role::Master
    }
}
