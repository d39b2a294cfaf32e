//! Exec in place: another program in this process, which gets descriptors and a text from this one.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;

use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use socket2::Socket;

use super::descriptors::{check_file_size, close_on_exec_from_3, take};
use super::signals::HeldSignals;
use super::{Channel, PidFile, Program, SharedMemory, platform};
use crate::sys::{Inheritance, STATE_VARIABLE};

impl Program {
    /// Executes this program in this process, and passes `text`, `listeners` and `channels` on; `text` names
    /// the descriptors of `pid_files` and `memory`. Returns only if that fails; everything is then as before.
    ///
    /// The signals that are held wait until the new program unblocks them.
    pub(crate) fn exec(
        &self,
        _held: &HeldSignals,
        text: &str,
        listeners: &[&Socket],
        channels: &[&Channel],
        pid_files: &[&PidFile],
        memory: Option<&SharedMemory>,
    ) -> io::Error {
        let kept: Vec<BorrowedFd<'_>> = listeners
            .iter()
            .map(|listener| listener.as_fd())
            .chain(channels.iter().map(|channel| channel.as_fd()))
            .collect();
        let named = pid_files.iter().map(|file| file.as_fd()).chain(memory.map(SharedMemory::as_fd));
        let named: Vec<BorrowedFd<'_>> = named.collect();
        let outcome = self.try_exec(text, listeners.len(), &kept, &named);
        for descriptor in kept.into_iter().chain(named) {
            let _ = fcntl(descriptor, F_SETFD(FdFlag::FD_CLOEXEC));
        }
        match outcome {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_exec(
        &self,
        text: &str,
        listeners: usize,
        kept: &[BorrowedFd<'_>],
        named: &[BorrowedFd<'_>],
    ) -> io::Result<std::convert::Infallible> {
        let numbers: Vec<String> = kept.iter().map(|descriptor| descriptor.as_raw_fd().to_string()).collect();
        let (listeners, channels) = numbers.split_at(listeners);
        let text = format!("{}\n{}\n{text}", listeners.join(" "), channels.join(" "));
        check_file_size(text.len())?;
        let mut state = platform::descriptors::anonymous_file()?;
        state.write_all(text.as_bytes())?;
        state.rewind()?;
        let marker = format!("{STATE_VARIABLE}={}:{}", std::process::id(), state.as_raw_fd());
        let environment = env::vars_os()
            .filter(|(name, _)| name != STATE_VARIABLE)
            .map(|(name, value)| [name, value].join(OsStr::new("=")))
            .chain([OsString::from(marker)])
            .map(c_string)
            .collect::<io::Result<Vec<_>>>()?;
        let arguments =
            self.argv().map(|argument| c_string(argument.to_owned())).collect::<io::Result<Vec<_>>>()?;
        let executable = CString::new(self.executable().as_os_str().as_bytes())?;
        for descriptor in kept.iter().chain(named).copied().chain([state.as_fd()]) {
            fcntl(descriptor, F_SETFD(FdFlag::empty()))?;
        }
        Ok(nix::unistd::execve(&executable, &arguments, &environment)?)
    }
}

fn c_string(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

/// What the previous program in this process passed to this one.
pub(crate) fn inheritance() -> io::Result<Option<Inheritance>> {
    let Some(number) = state_descriptor() else { return Ok(None) };
    platform::program::restore_process_name();
    let mut text = String::new();
    File::from(take(number)?).read_to_string(&mut text)?;
    let broken =
        || io::Error::new(io::ErrorKind::InvalidData, "the state of the previous program is cut short");
    let (listeners, rest) = text.split_once('\n').ok_or_else(broken)?;
    let (channels, text) = rest.split_once('\n').ok_or_else(broken)?;
    let take_all = |numbers: &str| {
        numbers.split_whitespace().map(|number| take(number.parse().map_err(|_| broken())?)).collect()
    };
    let listeners: io::Result<Vec<OwnedFd>> = take_all(listeners);
    let channels: io::Result<Vec<OwnedFd>> = take_all(channels);
    Ok(Some(Inheritance {
        text: text.to_owned(),
        listeners: listeners?.into_iter().map(Socket::from).collect(),
        channels: channels?.into_iter().map(|end| Channel::to_earlier_child(UnixStream::from(end))).collect(),
    }))
}

/// Keeps what the previous program has passed to this one from the programs that user code executes before
/// [`inheritance`] takes it. Such a process would hold the address, the pid file and the private key for as long as
/// it lives.
pub(crate) fn guard_inheritance() {
    if took_over() {
        close_on_exec_from_3();
    }
}

/// Whether this program was executed in place of another one.
pub(super) fn took_over() -> bool {
    state_descriptor().is_some()
}

/// The variable is `pid:descriptor`. The pid is that of the process itself, which an exec does not change;
/// in any other process the variable is ignored.
fn state_descriptor() -> Option<RawFd> {
    let value = env::var(STATE_VARIABLE).ok()?;
    let (pid, number) = value.split_once(':')?;
    (pid.parse() == Ok(std::process::id())).then(|| number.parse().ok())?
}
