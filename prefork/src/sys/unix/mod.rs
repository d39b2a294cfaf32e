//! Every Unix: signals, socket pairs, descriptors. Where a subject differs between Linux and the other Unixes,
//! the difference is in the file of the same name in `linux/` and in `fallback/`.

mod accept_gate;
mod activation;
mod channel;
mod child_process;
mod connections;
mod control_socket;
mod decoy;
mod descriptors;
mod errors;
mod exec;
#[cfg(not(target_vendor = "apple"))]
mod identity;
#[cfg(target_vendor = "apple")]
mod identity_apple;
mod listener;
mod master_link;
mod pid_file;
mod poller;
mod privileges;
mod process;
mod program;
mod reactor;
mod role;
mod service;
mod shared_memory;
mod signals;
mod socket_file;
mod template;
mod waker;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::fallback as platform;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::linux as platform;

pub(crate) use accept_gate::AcceptGate;
pub(crate) use activation::activated;
pub(crate) use channel::Channel;
pub(crate) use control_socket::{
    ControlListener, ControlStream, NO_CONTROL_SOCKET, accept_control, control_listener, control_stream,
    duplicate_control, peer_of, shut_down_control,
};
pub(crate) use descriptors::descriptor_limit;
pub(crate) use errors::{is_shortage, is_transient, lacks_ipv6, shortage_hint};
pub(crate) use exec::{guard_inheritance, inheritance};
#[cfg(not(target_vendor = "apple"))]
pub(crate) use identity::{change_user, groups_of, verify_user};
#[cfg(target_vendor = "apple")]
pub(crate) use identity_apple::{change_user, groups_of, verify_user};
#[cfg(feature = "tokio")]
pub(crate) use listener::TokioUnixListener;
pub(crate) use listener::{
    HAS_UNIX_SOCKETS, NEEDS_REUSEPORT, SHARES_ONE_SOCKET, UnixListener, allow_quick_restart, close_for_all,
    has_queue, into_unix_listener, is_in_reuseport_group, join_reuseport_group, leave_reuseport_group,
    listen_queue, may_have_client, unix_name,
};
pub(crate) use master_link::{MasterLink, MasterSender};
pub(crate) use pid_file::PidFile;
pub(crate) use platform::fork::can_fork_for_parent;
pub(crate) use platform::huge_pages::use_huge_pages;
pub(crate) use platform::io_uring::HAS_IO_URING;
pub(crate) use platform::landlock::{check_landlock, confine_to};
pub(crate) use platform::listener::{
    ADDRESS_DENIED_HINT, JOINS_GROUPS_LATE, prefer_cpu, restore_listener, set_defer_accept, set_fast_open,
    withdraw_listener,
};
pub(crate) use platform::privileges::{
    allowed_cpus, check_no_new_privs, has_no_new_privs, pin_to_cpu, refuse_tracing, restore_access_to_itself,
    set_no_new_privs,
};
pub(crate) use platform::process::{other_threads, own_memory, resident_bytes, threads};
pub(crate) use platform::steering::{refuse_connections, steer, unsteer};
pub(crate) use platform::title::set_title;
pub(crate) use platform::usage::{CpuClock, UsageReader, dropped_connections};
pub(crate) use privileges::{
    check_may_change_user, check_nice, check_open_files, find_group, find_user, limit_open_files, set_nice,
};
pub(crate) use process::{exit_now, how_to_stop, monotonic_nanos, open_regular, os_string};
pub(crate) use program::Program;
pub(crate) use reactor::Reactor;
pub(crate) use role::{handshake_is_waiting, take_handshake};
pub(crate) use service::{is_managed, notify, stderr_is_journal, watchdog};
pub(crate) use shared_memory::{Mapping, SharedMemory};
pub(crate) use signals::{HeldSignals, TerminalGuard, ignores_hangup, raise_stop_signal, spawn_thread};
pub(crate) use socket_file::SocketFile;
pub(crate) use template::{
    check_only_thread, fork_for_parent, ignore_stop_in_template, leave_template, restore_template,
    tie_to_master,
};
pub(crate) use waker::Waker;
