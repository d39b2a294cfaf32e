//! The meaning of the system's errors.

use std::io;

use windows_sys::Win32::Foundation::{
    ERROR_COMMITMENT_LIMIT, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_ENOUGH_QUOTA,
    ERROR_OUTOFMEMORY, ERROR_SHARING_VIOLATION, ERROR_TOO_MANY_OPEN_FILES,
};
use windows_sys::Win32::Networking::WinSock::{WSAEADDRNOTAVAIL, WSAEAFNOSUPPORT, WSAEMFILE, WSAENOBUFS};

/// The remedy for a shortage of something that a process or a socket needs.
pub(crate) fn shortage_hint(error: &io::Error) -> Option<&'static str> {
    if is_out_of_descriptors(error) {
        Some("end what holds many handles or lower `workers`")
    } else if error.kind() == io::ErrorKind::OutOfMemory {
        Some("free memory, enlarge the paging file or lower `workers`")
    } else {
        None
    }
}

/// Whether a process could not be started because of a shortage that may pass.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    // The last error: another process has the program's file open for writing.
    const SHORTAGES: [u32; 6] = [
        ERROR_NOT_ENOUGH_MEMORY,
        ERROR_OUTOFMEMORY,
        ERROR_COMMITMENT_LIMIT,
        ERROR_NO_SYSTEM_RESOURCES,
        ERROR_NOT_ENOUGH_QUOTA,
        ERROR_SHARING_VIOLATION,
    ];
    code_of(error).is_some_and(|code| SHORTAGES.contains(&code)) || is_shortage(error)
}

/// Whether the process or the system lacks handles, or memory for sockets.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    is_out_of_descriptors(error) || error.raw_os_error() == Some(WSAENOBUFS)
}

/// Whether the error means that this machine has no IPv6.
pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(WSAEAFNOSUPPORT | WSAEADDRNOTAVAIL))
}

/// Whether the process or the system has no handle left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    code_of(error) == Some(ERROR_TOO_MANY_OPEN_FILES) || error.raw_os_error() == Some(WSAEMFILE)
}

/// The error's code, in the type of the system's constants.
pub(super) fn code_of(error: &io::Error) -> Option<u32> {
    error.raw_os_error().and_then(|code| u32::try_from(code).ok())
}
