//! Threads in `accept`, as /proc shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

const TASKS: &str = "/proc/self/task";

/// A thread that has run for this long has left the `accept` that it may have been in: the call itself
/// takes some microseconds of CPU time.
const ACCEPT_CPU_NANOS: u64 = 1_000_000;

/// The threads that may be in `accept` on a listener that was replaced, with a connection that has no
/// descriptor yet. A thread drops out when it is seen elsewhere, has run for a while, or has handled its signal: what
/// it is in then is another call.
#[derive(Debug, Default)]
pub(in crate::sys) struct AcceptCalls {
    /// Thread and its CPU time, in nanoseconds, when the listener was replaced.
    unfinished: BTreeMap<libc::pid_t, u64>,
    interrupted: BTreeSet<libc::pid_t>,
}

impl AcceptCalls {
    /// Every thread but the calling one, immediately after listeners were replaced.
    pub(in crate::sys) fn begin() -> Self {
        let threads = other_threads().unwrap_or_default();
        let unfinished = threads.into_iter().map(|(thread, path)| (thread, cpu_nanos(&path))).collect();
        Self { unfinished, interrupted: BTreeSet::new() }
    }

    /// Sends `signal` to the threads of this process that are in `accept` on one of `listeners`. Returns how
    /// many there were, and whether a thread may still be in a call on what was there before.
    ///
    /// # Errors
    ///
    /// /proc does not show what threads do.
    pub(in crate::sys) fn interrupt(
        &mut self,
        listeners: &[RawFd],
        signal: Signal,
    ) -> io::Result<(usize, bool)> {
        let mut waiting = 0;
        let mut unfinished = BTreeMap::new();
        for (thread, path) in other_threads()? {
            // Asked before the call is: a signal that comes in between is for the call that is seen.
            let has_handled = self.interrupted.contains(&thread) && !is_pending(signal, &path);
            let Some(call) = system_call(&path)? else { continue };
            let before = self.unfinished.get(&thread).copied();
            if accepts_on(&call, listeners) {
                waiting += 1;
                interrupt_thread(thread, signal)?;
                self.interrupted.insert(thread);
                unfinished.extend(before.filter(|_| !has_handled).map(|before| (thread, before)));
            } else if call.starts_with("running") {
                let is_at_it = |before: &u64| cpu_nanos(&path).saturating_sub(*before) < ACCEPT_CPU_NANOS;
                unfinished.extend(before.filter(is_at_it).map(|before| (thread, before)));
            }
        }
        self.unfinished = unfinished;
        Ok((waiting, !self.unfinished.is_empty()))
    }
}

/// A thread that has ended meanwhile needs no signal. Where a sandbox forbids the call, that is an error.
fn interrupt_thread(thread: libc::pid_t, signal: Signal) -> io::Result<()> {
    // SAFETY: the call takes plain numbers.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, signal as libc::c_int) };
    match Errno::result(sent) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Every thread of this process but the calling one, and its directory.
fn other_threads() -> io::Result<Vec<(libc::pid_t, PathBuf)>> {
    let own = nix::unistd::gettid().as_raw();
    let mut threads = Vec::new();
    for task in fs::read_dir(TASKS)? {
        let task = task?;
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok());
        threads.extend(thread.filter(|thread| *thread != own).map(|thread| (thread, task.path())));
    }
    Ok(threads)
}

/// The line that tells a thread's system call; `None` if the thread has ended.
fn system_call(thread: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(thread.join("syscall")) {
        Ok(call) => Ok(Some(call)),
        Err(_) if !thread.exists() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a signal that was sent to this thread alone waits for it: it has not run since, or blocks the signal. So it
/// is taken to be where that cannot be read.
fn is_pending(signal: Signal, thread: &Path) -> bool {
    let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    let pending = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    pending.is_none_or(|pending| pending & 1 << (signal as u32 - 1) != 0)
}

/// The CPU time of a thread; 0 where the kernel does not count it.
fn cpu_nanos(thread: &Path) -> u64 {
    let line = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    line.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// Reads a line of `/proc/self/task/*/syscall`: the call's number, then its arguments in hex.
fn accepts_on(call: &str, listeners: &[RawFd]) -> bool {
    let mut fields = call.split_whitespace();
    let number = fields.next().and_then(|number| number.parse::<libc::c_long>().ok());
    let first =
        fields.next().and_then(|first| RawFd::from_str_radix(first.trim_start_matches("0x"), 16).ok());
    let is_accept = number.is_some_and(is_accept_call);
    is_accept && first.is_some_and(|first| listeners.contains(&first))
}

// Some architectures have no plain accept(2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "arm"))]
fn is_accept_call(number: libc::c_long) -> bool {
    number == libc::SYS_accept || number == libc::SYS_accept4
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "arm"
)))]
fn is_accept_call(number: libc::c_long) -> bool {
    number == libc::SYS_accept4
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use nix::sys::signal::SigSet;

    use super::*;

    #[test]
    fn thread_in_accept_is_recognised() {
        let accept = format!("{} 0x7 0x7ffd0 0x7ffd8 0x80000 0x0 0x0 0x0 0x7ffd 0x7f", libc::SYS_accept4);
        assert!(accepts_on(&accept, &[5, 7]));
        assert!(!accepts_on(&accept, &[5]));
        let read = format!("{} 0x7 0x7ffd0 0x40 0x0 0x0 0x0 0x7ffd 0x7f", libc::SYS_read);
        assert!(!accepts_on(&read, &[7]));
        assert!(!accepts_on("running\n", &[7]));
        assert!(!accepts_on("", &[7]));
    }

    #[test]
    fn thread_with_other_work_does_not_stay_unfinished() {
        let over = Arc::new(AtomicBool::new(false));
        let spinning = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                nix::unistd::gettid()
            }
        });
        let mut calls = AcceptCalls::begin();
        while calls.interrupt(&[], Signal::SIGURG).unwrap().1 {
            thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
        spinning.join().unwrap();
    }

    #[test]
    fn thread_that_has_not_handled_its_signal_stays_unfinished() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (number, addr) = (listener.as_raw_fd(), listener.local_addr().unwrap());
        let accepting = thread::spawn(move || {
            SigSet::from(Signal::SIGURG).thread_block().unwrap();
            listener.accept().unwrap();
        });
        let mut calls = AcceptCalls::default();
        loop {
            calls.unfinished = AcceptCalls::begin().unfinished;
            if calls.interrupt(&[number], Signal::SIGURG).unwrap() == (1, true) {
                break;
            }
            thread::yield_now();
        }
        for _ in 0..5 {
            calls.interrupt(&[number], Signal::SIGURG).unwrap();
            assert!(calls.interrupted.iter().all(|thread| calls.unfinished.contains_key(thread)));
        }
        TcpStream::connect(addr).unwrap();
        accepting.join().unwrap();
    }

    #[test]
    fn thread_that_has_ended_is_no_error() {
        assert_eq!(system_call(Path::new("/proc/self/task/0")).unwrap(), None);
    }
}
