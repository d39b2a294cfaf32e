//! The fork of a template: a process that is a copy of this one, and a child of this one's parent.
//!
//! The C library's `fork` cannot do that, so the system call is made directly. The library then knows nothing of the
//! new process. That is harmless while there is one thread, because no lock of the library is held; except that the
//! library keeps the id of each thread in the thread's own memory, and names the thread by it in `abort`, in mutexes
//! and in calls about a thread. The kernel writes the new id there, because it is told where that is.
//!
//! Handlers of `pthread_atfork` do not run.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpgid};

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

/// Makes a child of this process's parent that continues here, as the only thread.
///
/// # Safety
///
/// This process has no other thread: what that holds would be held in the child for ever.
pub(in crate::sys) unsafe fn fork_for_parent() -> Result<Forked, i32> {
    let thread_id = thread_id().ok_or(libc::ENOSYS)?;
    let robust_list = RobustList::of_this_thread();
    // The kernel takes the signal that reports the end from this process: SIGCHLD.
    let flags =
        libc::c_long::from(libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID);
    let (none, id) = (ptr::null_mut::<libc::c_void>(), thread_id.cast::<libc::c_void>());
    // Of the two last arguments one is unused, and which one depends on the architecture.
    let (fourth, fifth) = if cfg!(target_arch = "x86_64") { (id, none) } else { (none, id) };
    // SAFETY: without CLONE_VM the new process has its own copy of the memory, and continues on its own copy of this
    // stack. Other threads would be missing there, but this one is alone.
    match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, fourth, fifth) } {
        -1 => Err(Errno::last_raw()),
        0 => {
            robust_list.register();
            Ok(Forked::Child)
        }
        pid => Ok(Forked::Template(u32::try_from(pid).map_err(|_| libc::ERANGE)?)),
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
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Tells of a child that has ended, and leaves it a zombie. Without one that has ended: `WaitStatus::StillAlive`.
const PEEK: WaitPidFlag = WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG).union(WaitPidFlag::WNOWAIT);

/// The process group of a child of this process that is not reaped.
pub(in crate::sys) fn group_of_child(pid: Pid) -> Option<Pid> {
    let is_own_child = pid.as_raw() > 0 && waitid(Id::Pid(pid), PEEK).is_ok();
    is_own_child.then(|| getpgid(Some(pid)).ok())?
}

/// The status of a child that has ended. It is not reaped.
pub(in crate::sys) fn status_of_zombie(pid: Pid) -> io::Result<Option<ExitStatus>> {
    const DUMPED_CORE: i32 = 0x80;
    match waitid(Id::Pid(pid), PEEK) {
        Ok(WaitStatus::Exited(_, status)) => Ok(Some(ExitStatus::from_raw(status << 8))),
        Ok(WaitStatus::Signaled(_, signal, dumped)) => {
            Ok(Some(ExitStatus::from_raw(signal as i32 | if dumped { DUMPED_CORE } else { 0 })))
        }
        Ok(_) | Err(Errno::ECHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reaps a template that has ended, and what is in its process group and has ended, but for children that are known:
/// they tell their end by themselves. Returns whether nothing is left to reap.
pub(in crate::sys) fn reap_group(template: Pid, known: &BTreeSet<Pid>) -> bool {
    loop {
        match waitid(Id::PGid(template), PEEK).map(|status| status.pid()) {
            Ok(Some(pid)) if !known.contains(&pid) => drop(waitpid(pid, Some(WaitPidFlag::WNOHANG))),
            Ok(_) => return false,
            Err(_) => return true,
        }
    }
}

/// Waits for a template and everything in its process group.
pub(in crate::sys) fn wait_for_group(template: Pid) {
    while waitpid(Pid::from_raw(-template.as_raw()), None).is_ok() {}
}

/// Kills what a template has forked that is in its process group. The template is not reaped, so the group is its own.
pub(in crate::sys) fn kill_group(template: Pid) {
    let _ = killpg(template, Signal::SIGKILL);
}
