//! Signals, and their replacements on Windows: named events.

#[cfg(unix)]
pub use nix::sys::signal::Signal;

#[cfg(windows)]
pub use windows::Signal;

/// The signals that start a new generation: reload, and upgrade on platforms that have it.
pub const RELOAD_AND_UPGRADE: &[Signal] = &[
    Signal::SIGHUP,
    #[cfg(unix)]
    Signal::SIGUSR2,
];

/// The signals that do nothing in a child.
#[cfg(unix)]
pub const WITHOUT_EFFECT_IN_CHILD: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
];

/// Sends a signal to a process that exists.
pub fn send(pid: u32, signal: Signal) {
    try_send(pid, signal).unwrap_or_else(|error| panic!("cannot send {signal} to {pid}: {error}"));
}

/// Sends a signal to a process that may have ended.
///
/// # Errors
///
/// There is no such process.
#[cfg(unix)]
pub fn try_send(pid: u32, signal: Signal) -> std::io::Result<()> {
    let pid = i32::try_from(pid).map_err(std::io::Error::other)?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?)
}

/// What this process starts from now on does not ignore SIGHUP, even if `nohup` has started this process.
#[cfg(unix)]
pub(crate) fn heed_hangups() {
    use nix::sys::signal::{SigHandler, signal};
    // SAFETY: the call removes a disposition, and installs no handler.
    unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }.expect("the default of SIGHUP");
}

#[cfg(windows)]
pub use windows::try_send;

#[cfg(windows)]
mod windows {
    use std::fmt;
    use std::io;
    use std::os::windows::io::{AsRawHandle, HandleOrNull, OwnedHandle};

    use windows_sys::Win32::System::Threading::{
        EVENT_MODIFY_STATE, OpenEventW, OpenProcess, PROCESS_TERMINATE, SetEvent, TerminateProcess,
    };

    use crate::proc;

    /// The signals that have a replacement. All but the last three are for a master.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[expect(missing_docs, clippy::exhaustive_enums, reason = "the names of the Unix signals")]
    pub enum Signal {
        SIGTERM,
        SIGQUIT,
        SIGHUP,
        SIGTTIN,
        SIGTTOU,
        SIGUSR1,
        SIGKILL,
        SIGSTOP,
        SIGCONT,
    }

    impl fmt::Display for Signal {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Debug::fmt(self, f)
        }
    }

    /// Sets the event in place of a signal.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn try_send(pid: u32, signal: Signal) -> io::Result<()> {
        match signal {
            Signal::SIGTERM => request(pid, "stop"),
            Signal::SIGQUIT => request(pid, "quit"),
            Signal::SIGHUP => request(pid, "reload"),
            Signal::SIGTTIN => request(pid, "grow"),
            Signal::SIGTTOU => request(pid, "shrink"),
            Signal::SIGUSR1 => request(pid, "reopen"),
            Signal::SIGKILL => kill(pid),
            Signal::SIGSTOP => proc::stop(pid),
            Signal::SIGCONT => proc::resume(pid),
        }
    }

    /// Sets the event `what` of the master.
    fn request(master: u32, what: &str) -> io::Result<()> {
        let name: Vec<u16> = format!("Global\\prefork-{master}-{what}\0").encode_utf16().collect();
        // SAFETY: the name ends with a zero and outlives the call; the handle is new and owned here.
        let event =
            unsafe { HandleOrNull::from_raw_handle(OpenEventW(EVENT_MODIFY_STATE, 0, name.as_ptr())) };
        let event = OwnedHandle::try_from(event).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the event is open.
        if unsafe { SetEvent(event.as_raw_handle()) } == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Terminates the process with status 9, the number of SIGKILL.
    fn kill(pid: u32) -> io::Result<()> {
        // SAFETY: the arguments are numbers; the handle is new and owned here.
        let process = unsafe { HandleOrNull::from_raw_handle(OpenProcess(PROCESS_TERMINATE, 0, pid)) };
        let process = OwnedHandle::try_from(process).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the handle is open, and the process belongs to the test.
        if unsafe { TerminateProcess(process.as_raw_handle(), 9) } == 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}
