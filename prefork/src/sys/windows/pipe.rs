//! The pipe between master and child: one handle for both directions, like a socket pair.
//!
//! Made as std makes its own pipes: under a random name, with the one instance that this process connects to
//! itself. Overlapped, because on any other handle Windows runs one call at a time: a thread that waits in a
//! read would block every write.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::{self, NonNull};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_IO_PENDING, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED,
    GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_DUPLEX,
    ReadFile, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE,
};

use super::errors::code_of;
use super::object;

/// The size of the pipe's buffers: more than the two sides ever send at once.
const CAPACITY: u32 = 64 * 1024;
/// How long a write waits on a full pipe. Its reader hangs then, and the writer must not.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a write waits that may be lost. One for which the pipe has room is done before, but not always when the call
/// returns.
const AT_ONCE: Duration = Duration::from_millis(10);

/// One end; see the [module](self).
#[derive(Debug)]
pub(super) struct Pipe {
    handle: OwnedHandle,
}

impl Pipe {
    /// Two connected ends, neither of which is inheritable.
    pub(super) fn pair() -> io::Result<(Self, OwnedHandle)> {
        let secret = RandomState::new().build_hasher().finish();
        let name = object::wide(&format!(r"\\.\pipe\prefork-{}-{secret:016x}", std::process::id()));
        let access = PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED;
        let kind = PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_REJECT_REMOTE_CLIENTS;
        // SAFETY: the name ends with a zero and outlives the call; no attributes.
        let ours =
            unsafe { CreateNamedPipeW(name.as_ptr(), access, kind, 1, CAPACITY, CAPACITY, 0, ptr::null()) };
        let ours = opened(ours)?;
        // SAFETY: as above.
        let theirs = unsafe {
            CreateFileW(
                name.as_ptr(),
                GENERIC_READ | GENERIC_WRITE,
                0,
                ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED,
                ptr::null_mut(),
            )
        };
        Ok((Self { handle: ours }, opened(theirs)?))
    }

    /// An end that [`pair`](Self::pair) opened, in this process or in the one that started it.
    pub(super) fn new(handle: OwnedHandle) -> Self {
        Self { handle }
    }

    /// Another handle to the same end, for another thread.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { handle: self.handle.try_clone()? })
    }

    /// Writes a whole line.
    pub(super) fn send(&self, line: &str) -> io::Result<()> {
        self.write_all(format!("{line}\n").as_bytes())
    }

    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, PATIENCE)
    }

    /// Writes all if the pipe has room for it. If it has none, this fails after 10 ms.
    pub(super) fn write_at_once(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, AT_ONCE)
    }

    fn write(&self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let event = object::event()?;
        let mut operation = OVERLAPPED { hEvent: event.as_raw_handle(), ..OVERLAPPED::default() };
        let operation = &raw mut operation;
        let handle = self.handle.as_raw_handle();
        // SAFETY: bytes, operation and event outlive the write: this function does not return before
        // `GetOverlappedResult` below has seen its end.
        let started = unsafe { WriteFile(handle, bytes.as_ptr(), length, ptr::null_mut(), operation) };
        match object::check(started) {
            Err(error) if code_of(&error) == Some(ERROR_IO_PENDING) => {
                if !matches!(object::wait_any(&[event.as_handle()], Some(patience)), Ok(Some(_))) {
                    // SAFETY: it names an operation of ours on a handle that is open.
                    unsafe { CancelIoEx(handle, operation) };
                }
            }
            other => other?,
        }
        let mut written = 0;
        // SAFETY: the operation was started on this handle; the call waits for its end.
        object::check(unsafe { GetOverlappedResult(handle, operation, &raw mut written, 1) })?;
        if written == length { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

fn opened(handle: *mut std::ffi::c_void) -> io::Result<OwnedHandle> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made this handle for this code; no other code knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Reads from a pipe in two steps: a read is begun, and once [`done`](Self::done) is signalled its
/// result can be taken. In between, one can wait for other things as well.
#[derive(Debug)]
pub(super) struct Reader {
    pipe: Pipe,
    done: OwnedHandle,
    /// The kernel writes here while a read is under way. This code does not touch it then.
    memory: NonNull<Memory>,
    under_way: bool,
}

struct Memory {
    operation: OVERLAPPED,
    bytes: [u8; 512],
}

// SAFETY: the memory belongs to this reader alone, and the kernel accepts calls from any thread.
unsafe impl Send for Reader {}

impl Reader {
    pub(super) fn new(pipe: Pipe) -> io::Result<Self> {
        let done = object::event()?;
        let operation = OVERLAPPED { hEvent: done.as_raw_handle(), ..OVERLAPPED::default() };
        let memory = NonNull::from(Box::leak(Box::new(Memory { operation, bytes: [0; 512] })));
        Ok(Self { pipe, done, memory, under_way: false })
    }

    pub(super) fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Signalled when the read that is under way has ended.
    pub(super) fn done(&self) -> BorrowedHandle<'_> {
        self.done.as_handle()
    }

    /// Begins a read, unless one is under way. `false`: the other side has closed its end.
    pub(super) fn begin(&mut self) -> io::Result<bool> {
        if self.under_way {
            return Ok(true);
        }
        let memory = self.memory.as_ptr();
        let handle = self.pipe.handle.as_raw_handle();
        // SAFETY: the memory is ours and no read is under way, so the kernel may have it; it is
        // neither read nor freed before `end` has seen this read's end. The buffer is 512 bytes.
        let started = unsafe {
            ReadFile(
                handle,
                (&raw mut (*memory).bytes).cast(),
                512,
                ptr::null_mut(),
                &raw mut (*memory).operation,
            )
        };
        match object::check(started) {
            Ok(()) => {}
            Err(error) if code_of(&error) == Some(ERROR_IO_PENDING) => {}
            Err(error) if is_end(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.under_way = true;
        Ok(true)
    }

    /// Takes the result of the read, and waits for it if need be. `None`: the other side has closed its end.
    pub(super) fn end(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.under_way {
            return Ok(Some(&[]));
        }
        let memory = self.memory.as_ptr();
        let mut length = 0;
        // SAFETY: the operation was begun on this handle; the call waits for its end, so that
        // afterwards the memory belongs to this code again, whatever the outcome.
        let ended = unsafe {
            GetOverlappedResult(
                self.pipe.handle.as_raw_handle(),
                &raw const (*memory).operation,
                &raw mut length,
                1,
            )
        };
        let ended = object::check(ended);
        self.under_way = false;
        match ended {
            Ok(()) => {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                // SAFETY: no read is under way, so the kernel does not touch the memory.
                Ok(unsafe { &(*memory).bytes }.get(..length))
            }
            Err(error) if is_end(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.under_way {
            // SAFETY: it names an operation of ours on a handle that is open.
            unsafe {
                CancelIoEx(self.pipe.handle.as_raw_handle(), &raw const (*self.memory.as_ptr()).operation)
            };
            // Cancelled or not, the kernel has to be done with the memory.
            let _ = self.end();
        }
        // SAFETY: it came from a box, and no read is under way any more.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

fn is_end(error: &io::Error) -> bool {
    const ENDS: [u32; 4] = [ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED, ERROR_NO_DATA, ERROR_HANDLE_EOF];
    code_of(error).is_some_and(|code| ENDS.contains(&code))
}
