//! Socket calls that std and socket2 do not have.

use std::io;
use std::os::windows::io::{AsRawSocket, FromRawSocket, RawSocket};
use std::sync::OnceLock;

use socket2::Socket;
use windows_sys::Win32::Networking::WinSock::{
    FROM_PROTOCOL_INFO, INVALID_SOCKET, SO_PAUSE_ACCEPT, SOCKET, SOL_SOCKET, WSA_FLAG_NO_HANDLE_INHERIT,
    WSA_FLAG_OVERLAPPED, WSADATA, WSADuplicateSocketW, WSAGetLastError, WSAPROTOCOL_INFOW, WSASocketW,
    WSAStartup, setsockopt,
};
use windows_sys::Win32::System::IO::CancelIoEx;

/// The size of a socket's description for another process. The type has no padding.
const DESCRIPTION: usize = size_of::<WSAPROTOCOL_INFOW>();

/// Describes `listener` so that the process with this pid, and no other, can open it too. The listener has
/// to stay open until then.
pub(super) fn export(listener: &Socket, pid: u32) -> io::Result<String> {
    let mut description = WSAPROTOCOL_INFOW::default();
    // SAFETY: the socket is open for as long as it is borrowed; the system fills the description.
    let answer = unsafe { WSADuplicateSocketW(number(listener)?, pid, &raw mut description) };
    if answer != 0 {
        return Err(last_error());
    }
    // SAFETY: same size, no padding, and every byte pattern is an array of bytes.
    let bytes: [u8; DESCRIPTION] = unsafe { std::mem::transmute(description) };
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Opens a socket that another process has described for this one.
pub(super) fn import(text: &str) -> io::Result<Socket> {
    let broken =
        || io::Error::new(io::ErrorKind::InvalidData, "the master sent something that is not a socket");
    let bytes: [u8; DESCRIPTION] =
        from_hex(text).and_then(|bytes| bytes.try_into().ok()).ok_or_else(broken)?;
    // SAFETY: same size, and the type is made of integers: every byte pattern is one.
    let description: WSAPROTOCOL_INFOW = unsafe { std::mem::transmute(bytes) };
    start()?;
    let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    let (any, from) = (FROM_PROTOCOL_INFO, &raw const description);
    // SAFETY: the description outlives the call, which checks its content.
    let socket = unsafe { WSASocketW(any, any, any, from, 0, flags) };
    if socket == INVALID_SOCKET {
        return Err(last_error());
    }
    let socket = RawSocket::try_from(socket).map_err(io::Error::other)?;
    // SAFETY: the system has just made this socket for this code; no other code knows it.
    Ok(unsafe { Socket::from_raw_socket(socket) })
}

/// Bytes from two digits each.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |digits: &[u8]| match digits {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Before a listener is closed for good: other processes still have it open, so the socket itself is made to
/// refuse connections; connections already queued are served.
pub(crate) fn close_for_all(listener: &Socket) {
    refuse(listener);
}

/// Makes the socket refuse new connections, in every process. A system without the option goes on as
/// before: how long the drain takes is then up to the clients.
pub(super) fn refuse(listener: &Socket) {
    let (Ok(socket), Ok(option)) = (number(listener), i32::try_from(SO_PAUSE_ACCEPT)) else { return };
    let yes = 1_i32.to_ne_bytes();
    // SAFETY: the socket is open for as long as it is borrowed; the value is four bytes long.
    unsafe { setsockopt(socket, SOL_SOCKET, option, yes.as_ptr(), 4) };
}

/// Makes threads of this process that are in `accept` on this socket return with an error.
pub(super) fn cancel_accepts(listener: &Socket) {
    let Ok(socket) = number(listener) else { return };
    // SAFETY: a socket is a handle, open for as long as it is borrowed. If no thread waits on it, there is
    // nothing to cancel.
    unsafe { CancelIoEx(socket as _, std::ptr::null()) };
}

/// The socket in the type that the system's calls take.
fn number(listener: &Socket) -> io::Result<SOCKET> {
    SOCKET::try_from(listener.as_raw_socket()).map_err(io::Error::other)
}

/// Initialises the library. std does so too, but only with its own first socket.
fn start() -> io::Result<()> {
    static STARTED: OnceLock<i32> = OnceLock::new();
    let answer = *STARTED.get_or_init(|| {
        let mut about = WSADATA::default();
        // SAFETY: the system fills the value, which outlives the call.
        unsafe { WSAStartup(0x0202, &raw mut about) }
    });
    if answer == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(answer)) }
}

fn last_error() -> io::Error {
    // SAFETY: reads a number that belongs to this thread.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_description_is_refused() {
        assert_eq!(import("").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(import(&"xy".repeat(DESCRIPTION)).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(import(&"00".repeat(DESCRIPTION)).is_err());
    }
}
