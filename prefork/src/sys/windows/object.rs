//! Kernel objects to wait for.

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects};
use windows_sys::core::BOOL;

/// The outcome of a call that leaves its error with the thread.
pub(super) fn check(answer: BOOL) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The same for a call that makes an object, and returns no handle if it cannot.
pub(super) fn owned(handle: RawHandle) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made this handle for this code; no other code knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// An event without a name, which stays set until it is reset.
pub(super) fn event() -> io::Result<OwnedHandle> {
    // SAFETY: no attributes and no name; the rest are plain numbers.
    owned(unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) })
}

/// An event that other processes of the same user can set; each setting is waited for once.
pub(super) fn named_event(name: &str) -> io::Result<OwnedHandle> {
    let name = wide(name);
    // SAFETY: no attributes; the name ends with a zero and outlives the call.
    owned(unsafe { CreateEventW(ptr::null(), 0, 0, name.as_ptr()) })
}

pub(super) fn set(event: &OwnedHandle) -> io::Result<()> {
    // SAFETY: the handle is open for as long as it is borrowed.
    check(unsafe { SetEvent(event.as_raw_handle()) })
}

/// Waits until one of `objects`, at most 64, is signalled, and returns its index: the first if there are
/// several. `None` after the timeout.
pub(super) fn wait_any(
    objects: &[BorrowedHandle<'_>],
    timeout: Option<Duration>,
) -> io::Result<Option<usize>> {
    let handles: Vec<HANDLE> = objects.iter().map(AsRawHandle::as_raw_handle).collect();
    let count = u32::try_from(handles.len()).map_err(io::Error::other)?;
    // SAFETY: the handles are open for as long as they are borrowed, and there are `count` of them.
    match unsafe { WaitForMultipleObjects(count, handles.as_ptr(), 0, millis(timeout)) } {
        WAIT_TIMEOUT => Ok(None),
        WAIT_FAILED => Err(io::Error::last_os_error()),
        // Only mutexes can be abandoned, and there is none: the rest is an index.
        place => Ok(usize::try_from(place).ok()),
    }
}

/// `None` waits for ever. Rounds up: waking too early means waking twice.
fn millis(timeout: Option<Duration>) -> u32 {
    let Some(timeout) = timeout else { return INFINITE };
    u32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE).min(INFINITE - 1)
}

/// Text as the system's calls take it.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use std::os::windows::io::AsHandle;

    use super::*;

    #[test]
    fn first_signalled_object_is_returned() {
        let (one, other) = (event().unwrap(), event().unwrap());
        let both = [one.as_handle(), other.as_handle()];
        assert_eq!(wait_any(&both, Some(Duration::from_millis(1))).unwrap(), None);
        set(&other).unwrap();
        assert_eq!(wait_any(&both, None).unwrap(), Some(1));
        set(&one).unwrap();
        assert_eq!(wait_any(&both, None).unwrap(), Some(0));
    }

    #[test]
    fn waiting_rounds_up_and_never_becomes_endless() {
        assert_eq!(millis(None), INFINITE);
        assert_eq!(millis(Some(Duration::ZERO)), 0);
        assert_eq!(millis(Some(Duration::from_nanos(1))), 1);
        assert_eq!(millis(Some(Duration::MAX)), INFINITE - 1);
    }
}
