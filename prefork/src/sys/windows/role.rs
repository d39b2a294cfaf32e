//! The role of this process, and the handshake of a child.

use std::env;
use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, OwnedHandle, RawHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};
use windows_sys::Win32::System::Console::{STD_INPUT_HANDLE, SetStdHandle};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;

use super::pipe::Pipe;
use super::{Channel, object};
use crate::sys::MARKER;

/// Whether a handshake, which begins with `prefix`, waits on standard input. Consumes nothing: the master
/// writes the handshake before it starts the child, so it is there from the beginning.
///
/// It blocks while another thread reads from standard input, if that is a pipe: a program that reads there
/// should ask for its role first.
pub(crate) fn handshake_is_waiting(prefix: &str) -> bool {
    let mut start = vec![0_u8; prefix.len()];
    let Ok(size) = u32::try_from(start.len()) else { return false };
    let mut seen = 0;
    // SAFETY: the system writes at most `size` bytes; whatever is not a pipe is refused.
    let peeked = unsafe {
        PeekNamedPipe(
            io::stdin().as_raw_handle(),
            start.as_mut_ptr().cast(),
            size,
            &raw mut seen,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    peeked != 0 && seen == size && start == prefix.as_bytes()
}

/// Runs `start` with `handshake` as this process's own standard input: a producer that wraps the command in
/// another cannot move its standard input, but what it starts inherits the master's.
pub(super) fn with_stdin<T>(handshake: &OwnedHandle, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = io::stdin().as_raw_handle();
    set_stdin(handshake.as_raw_handle())?;
    let started = start();
    set_stdin(before)?;
    started
}

/// The caller keeps `handle` open while it is standard input.
fn set_stdin(handle: RawHandle) -> io::Result<()> {
    // SAFETY: it only replaces a number; the previous handle stays open.
    object::check(unsafe { SetStdHandle(STD_INPUT_HANDLE, handle) })
}

/// Takes the handshake off standard input, replaces standard input by the null device, and removes the
/// marker, so that no process that this one starts is mistaken for a child. Call it once, in a process
/// whose [`role`](crate::sys::role) is child.
pub(crate) fn take_handshake() -> io::Result<Channel> {
    let handshake = io::stdin().as_raw_handle();
    let null = File::open("NUL")?;
    // SAFETY: both are open; only flags change: standard input is inherited, the handshake is not.
    unsafe {
        object::check(SetHandleInformation(handshake, HANDLE_FLAG_INHERIT, 0))?;
        object::check(SetHandleInformation(null.as_raw_handle(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT))?;
    }
    // It stays open as standard input for the rest of the process's life.
    set_stdin(null.into_raw_handle())?;
    // SAFETY: the handle is open. Only standard input used it, which is another handle now.
    let handshake = unsafe { OwnedHandle::from_raw_handle(handshake) };
    // SAFETY: always safe on Windows, according to its documentation.
    unsafe { env::remove_var(MARKER) };
    Channel::to_master(Pipe::new(handshake))
}
