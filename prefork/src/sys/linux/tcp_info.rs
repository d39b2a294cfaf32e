//! What the kernel knows of a TCP socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

use nix::libc;
use socket2::SockRef;

use crate::sys::ListenQueue;

/// Whether the client of a connection is about to send, or has just sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sys) enum Activity {
    /// Everything that has arrived is read, and nothing was received or sent for a while.
    Quiet,
    Active,
}

/// A client that has sent nothing at all for this long is idle. Its first request may have a long way.
const FIRST_BYTE_MILLIS: u32 = 1000;
/// A client that has sent nothing more for this long, also not since it was answered, is idle. One that sends
/// requests all the time is told by the answer to the next that its connection is closed.
const NEXT_BYTE_MILLIS: u32 = 200;

/// The first fields of the kernel's `struct tcp_info` (linux/tcp.h): those of the C library end earlier.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct TcpInfo {
    bytes: [u8; 8],
    rto_to_rcv_mss: [u32; 4],
    unacked: u32,
    sacked: u32,
    lost_to_fackets: [u32; 3],
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu_to_total_retrans: [u32; 11],
    pacing_rates: [u64; 2],
    bytes_acked: u64,
    bytes_received: u64,
}

fn tcp_info(socket: RawFd) -> io::Result<TcpInfo> {
    let mut info = MaybeUninit::<TcpInfo>::zeroed();
    option(socket, (libc::IPPROTO_TCP, libc::TCP_INFO), &mut info)?;
    // SAFETY: plain numbers, of which all zeroes is a value.
    Ok(unsafe { info.assume_init() })
}

/// The value of a socket option, which is what the kernel has for `value` or the beginning of it.
fn option<T>(
    socket: RawFd,
    (level, name): (libc::c_int, libc::c_int),
    value: &mut MaybeUninit<T>,
) -> io::Result<()> {
    let mut size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `size` bytes into `value`.
    let result = unsafe {
        libc::getsockopt(socket, level, name, value.as_mut_ptr().cast(), std::ptr::from_mut(&mut size))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's array of `SO_MEMINFO` (linux/sock_diag.h). The last number is the packets dropped for the socket.
type MemInfo = [u32; 9];

/// What waits to be accepted. (For a listening socket, the kernel reports its queue where other sockets have their
/// unacknowledged segments, and the limit next to it.)
pub(in crate::sys) fn listen_queue(listener: RawFd) -> io::Result<ListenQueue> {
    let TcpInfo { unacked: length, sacked: limit, .. } = tcp_info(listener)?;
    let mut memory = MaybeUninit::<MemInfo>::zeroed();
    let dropped = option(listener, (libc::SOL_SOCKET, libc::SO_MEMINFO), &mut memory);
    // SAFETY: plain numbers, of which all zeroes is a value.
    let memory: MemInfo = unsafe { memory.assume_init() };
    let drops = dropped.is_ok().then_some(memory[8]);
    Ok(ListenQueue { length, limit, drops })
}

/// How many connections are queued; see [`listen_queue`].
pub(in crate::sys) fn queue_length(listener: RawFd) -> io::Result<u32> {
    Ok(tcp_info(listener)?.unacked)
}

/// Whether an accepted connection is active. Of other than TCP connections, the system knows only unread
/// bytes.
pub(in crate::sys) fn activity(connection: &SockRef<'_>) -> io::Result<Activity> {
    if unread_bytes(connection.as_raw_fd())? > 0 {
        return Ok(Activity::Active);
    }
    let info = tcp_info(connection.as_raw_fd())?;
    let TcpInfo { bytes_received, last_data_sent, last_data_recv, last_ack_recv, .. } = info;
    let quiet = match bytes_received {
        // The last thing that arrived was the end of the handshake.
        0 => last_ack_recv >= FIRST_BYTE_MILLIS,
        // An answer that was long in coming is followed by the next request all the same.
        _ => last_data_recv.min(last_data_sent) >= NEXT_BYTE_MILLIS,
    };
    Ok(if quiet { Activity::Quiet } else { Activity::Active })
}

fn unread_bytes(socket: RawFd) -> io::Result<libc::c_int> {
    let mut unread = 0;
    // SAFETY: the call writes one number, to where `unread` is.
    let result = unsafe { libc::ioctl(socket, libc::FIONREAD, std::ptr::from_mut(&mut unread)) };
    if result == 0 { Ok(unread) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        assert_eq!(std::mem::offset_of!(TcpInfo, unacked), 24);
        assert_eq!(std::mem::offset_of!(TcpInfo, last_data_sent), 44);
        assert_eq!(std::mem::offset_of!(TcpInfo, last_data_recv), 52);
        assert_eq!(std::mem::offset_of!(TcpInfo, last_ack_recv), 56);
        assert_eq!(std::mem::offset_of!(TcpInfo, bytes_acked), 120);
        assert_eq!(std::mem::offset_of!(TcpInfo, bytes_received), 128);
    }

    #[test]
    fn connection_is_active_after_an_answer_that_was_long_in_coming() {
        use std::io::{Read, Write};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        client.write_all(b"GET").unwrap();
        accepted.read_exact(&mut [0; 3]).unwrap();
        while activity(&SockRef::from(&accepted)).unwrap() == Activity::Active {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        accepted.write_all(b"answer").unwrap();
        assert_eq!(activity(&SockRef::from(&accepted)).unwrap(), Activity::Active);
    }

    #[test]
    fn full_queue_has_its_limit_and_drops() {
        use socket2::{Domain, SockAddr, Socket, Type};

        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        listener.listen(2).unwrap();
        let empty = ListenQueue { length: 0, limit: 2, drops: Some(0) };
        assert_eq!(listen_queue(listener.as_raw_fd()).unwrap(), empty);
        let addr = listener.local_addr().unwrap();
        // The kernel admits one more than the limit, and drops the others.
        let _clients = [0; 5].map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&addr);
            client
        });
        let full = listen_queue(listener.as_raw_fd()).unwrap();
        assert!(full.length == 3 && full.limit == 2 && full.drops >= Some(2), "{full:?}");
        let unix = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listen_queue(unix.as_raw_fd()).unwrap_err();
    }

    #[test]
    fn queue_grows_with_connections() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(queue_length(listener.as_raw_fd()).unwrap(), 0);
        let _clients = [0; 3].map(|_| std::net::TcpStream::connect(addr).unwrap());
        assert_eq!(queue_length(listener.as_raw_fd()).unwrap(), 3);
    }
}
