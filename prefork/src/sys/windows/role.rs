//! Master or child: how a process finds out, and how a child takes its handshake.

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

/// Whether a handshake, which begins with `greeting`, waits on standard input. Consumes nothing, and waits for nothing: the master
/// writes the greeting before it starts the child, so it is there or it never will be.
///
/// Windows makes it wait for a thread that reads from standard input at that moment, if that is a
/// pipe: a program that does so should ask for its role first.
pub(crate) fn handshake_is_waiting(greeting: &str) -> bool {
    let mut start = vec![0_u8; greeting.len()];
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
    peeked != 0 && seen == size && start == greeting.as_bytes()
}

/// Runs `start` with `handshake` as this process's own standard input: a producer that wraps the command
/// in another cannot move its standard input, but what it starts inherits ours.
pub(super) fn with_stdin<T>(handshake: &OwnedHandle, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = io::stdin().as_raw_handle();
    set_stdin(handshake.as_raw_handle())?;
    let started = start();
    set_stdin(before)?;
    started
}

/// Whoever calls this keeps `handle` open for as long as it is standard input.
fn set_stdin(handle: RawHandle) -> io::Result<()> {
    // SAFETY: it only replaces a number; the one that was there before stays open.
    object::check(unsafe { SetStdHandle(STD_INPUT_HANDLE, handle) })
}

/// Takes the handshake off standard input, puts the null device there instead, and removes the marker.
/// Afterwards no process that this one starts has a trace of its role. Call it once, in a process
/// whose [`role`](crate::sys::role) is child.
pub(crate) fn adopt() -> io::Result<Channel> {
    let handshake = io::stdin().as_raw_handle();
    let null = File::open("NUL")?;
    // SAFETY: both are open; only flags change: standard input is inherited, the handshake is not.
    unsafe {
        object::check(SetHandleInformation(handshake, HANDLE_FLAG_INHERIT, 0))?;
        object::check(SetHandleInformation(null.as_raw_handle(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT))?;
    }
    // Standard input has it now, for the rest of the process's life.
    set_stdin(null.into_raw_handle())?;
    // SAFETY: the handle is open, and was standard input's only: since that is another one, ours.
    let handshake = unsafe { OwnedHandle::from_raw_handle(handshake) };
    // SAFETY: on Windows it always is, says its documentation: the system guards the environment.
    unsafe { env::remove_var(MARKER) };
    Channel::new(Pipe::new(handshake))
}
