//! The fork of a template: a process that is a copy of this one, and a child of this one's parent.
//!
//! The C library's `fork` cannot do that, so the system call is made directly. The library then knows nothing of the
//! new process. That is harmless while there is one thread, because no lock of the library is held; except that the
//! library keeps the id of each thread in the thread's own memory, and names the thread by it in `abort`, in mutexes
//! and in calls about a thread. The kernel writes the new id there, because it is told where that is.
//!
//! Handlers of `pthread_atfork` do not run.

use std::io;
use std::ptr;

use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::sys::Forked;

/// Where the C library keeps the id of this thread, if it is the place that the kernel knows of. Only glibc does that;
/// without it a copy of this process would take itself for this one.
fn thread_id() -> Option<*mut libc::pid_t> {
    let mut place: *mut libc::pid_t = ptr::null_mut();
    // SAFETY: the kernel writes one address to `place`.
    let told = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) } == 0;
    if !told || place.is_null() || !place.is_aligned() {
        return None;
    }
    // SAFETY: the call has no conditions.
    let own = unsafe { libc::gettid() };
    // SAFETY: the C library has given the kernel this address to write to, for the whole life of the thread.
    (unsafe { place.read_volatile() } == own).then_some(place)
}

/// Whether [`fork_for_parent`] works with this kernel and C library.
pub(crate) fn can_fork_for_parent() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && thread_id().is_some()
}

/// Makes a child of this process's parent that continues here, as the only thread. Call it in a process with one
/// thread.
pub(crate) fn fork_for_parent() -> io::Result<Forked> {
    let thread_id = thread_id().ok_or(io::ErrorKind::Unsupported)?;
    let robust_list = RobustList::of_this_thread();
    // The kernel takes the signal that reports the end from this process: SIGCHLD.
    let flags = libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    let (none, id) = (ptr::null_mut::<libc::c_void>(), thread_id.cast::<libc::c_void>());
    // Of the two last arguments one is unused, and which one depends on the architecture.
    let (fourth, fifth) = if cfg!(target_arch = "x86_64") { (id, none) } else { (none, id) };
    // SAFETY: without CLONE_VM the new process has its own copy of the memory, and continues on its own copy of this
    // stack. Other threads would be missing there, but this one is alone.
    match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, fourth, fifth) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            robust_list.register();
            Ok(Forked::Child)
        }
        pid => Ok(Forked::Template(u32::try_from(pid).map_err(io::Error::other)?)),
    }
}

/// The list of mutexes that are released at the end of this thread. A fork does not inherit it.
struct RobustList {
    head: *mut libc::c_void,
    size: libc::size_t,
}

impl RobustList {
    fn of_this_thread() -> Self {
        let mut list = Self { head: ptr::null_mut(), size: 0 };
        // SAFETY: the kernel writes an address and a size. A failure leaves the list empty.
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut list.head, &raw mut list.size) };
        list
    }

    fn register(&self) {
        if !self.head.is_null() {
            // SAFETY: the list of the thread that this one is a copy of, at the same address.
            unsafe { libc::syscall(libc::SYS_set_robust_list, self.head, self.size) };
        }
    }
}

/// Kills this process when its parent ends.
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)
}

/// Whether the process is a child of this one that is not reaped.
pub(in crate::sys) fn is_own_child(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    pid.as_raw() > 0 && waitid(Id::Pid(pid), flags).is_ok()
}
