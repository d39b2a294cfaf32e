//! Open connections: of this machine, from the system's table, or of this process.

use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::windows::io::{BorrowedSocket, RawSocket};

use socket2::SockRef;
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetTcp6Table, GetTcpTable, MIB_TCP_STATE_CLOSE_WAIT, MIB_TCP_STATE_ESTAB, MIB_TCP6ROW, MIB_TCPROW_LH,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

/// The unit of the table, whatever its rows.
const WORD: usize = size_of::<u32>();
/// The first attempt at the size of the table, in words.
const ENOUGH: usize = 16 * 1024;

/// The number of connections accepted through `gates` that any process still has open. A connection that only
/// the kernel is closing does not count.
pub(super) fn open(gates: &[SocketAddr]) -> io::Result<usize> {
    let mut all = v4()?;
    // An IPv6 gate can also have IPv4 connections.
    if gates.iter().any(SocketAddr::is_ipv6) {
        all.extend(v6()?);
    }
    Ok(all.iter().filter(|local| gates.iter().any(|gate| leads_to(*gate, **local))).count())
}

/// The number of connections accepted through `gates` that this process has open.
///
/// No call lists a process's sockets. But a handle is a small multiple of four, and the system tells whether
/// a number is that of a connected socket.
pub(super) fn own(gates: &[SocketAddr]) -> io::Result<usize> {
    const STEP: usize = 4;
    let mut handles = 0;
    // SAFETY: the pseudo handle of this process is always valid; the system writes one number.
    super::object::check(unsafe { GetProcessHandleCount(GetCurrentProcess(), &raw mut handles) })?;
    // Numbers are reused, lowest first: few exceed twice the count.
    let last = usize::try_from(handles).map_err(io::Error::other)?.max(256) * 2 * STEP;
    Ok((STEP..=last).step_by(STEP).filter(|number| serves(*number, gates)).count())
}

/// Whether this handle is a connection that was accepted through `gates`.
fn serves(number: usize, gates: &[SocketAddr]) -> bool {
    let Ok(raw) = RawSocket::try_from(number) else { return false };
    // SAFETY: borrowed for calls that leave it as it is; if it is not a socket, or closed, they fail.
    let socket = unsafe { BorrowedSocket::borrow_raw(raw) };
    let socket = SockRef::from(&socket);
    if socket.peer_addr().is_err() {
        return false;
    }
    let local = socket.local_addr().ok().and_then(|local| local.as_socket());
    local.is_some_and(|local| gates.iter().any(|gate| leads_to(*gate, local)))
}

/// Whether a connection to `local` was accepted through `gate`.
fn leads_to(gate: SocketAddr, local: SocketAddr) -> bool {
    let (gate_ip, local_ip) = (gate.ip().to_canonical(), local.ip().to_canonical());
    gate.port() == local.port() && (gate_ip.is_unspecified() || gate_ip == local_ip)
}

fn v4() -> io::Result<Vec<SocketAddr>> {
    const ROW: usize = size_of::<MIB_TCPROW_LH>() / WORD;
    const STATE: usize = offset_of!(MIB_TCPROW_LH, Anonymous) / WORD;
    const ADDR: usize = offset_of!(MIB_TCPROW_LH, dwLocalAddr) / WORD;
    const PORT: usize = offset_of!(MIB_TCPROW_LH, dwLocalPort) / WORD;
    let table = table(Version::V4)?;
    let rows = rows(&table, ROW).filter(|row| is_open(row[STATE]));
    Ok(rows.map(|row| at(Ipv4Addr::from(row[ADDR].to_ne_bytes()).into(), row[PORT])).collect())
}

fn v6() -> io::Result<Vec<SocketAddr>> {
    const ROW: usize = size_of::<MIB_TCP6ROW>() / WORD;
    const STATE: usize = offset_of!(MIB_TCP6ROW, State) / WORD;
    const ADDR: usize = offset_of!(MIB_TCP6ROW, LocalAddr) / WORD;
    const PORT: usize = offset_of!(MIB_TCP6ROW, dwLocalPort) / WORD;
    let table = table(Version::V6)?;
    let rows = rows(&table, ROW).filter(|row| is_open(row[STATE]));
    Ok(rows.map(|row| at(v6_addr(&row[ADDR..ADDR + 4]).into(), row[PORT])).collect())
}

fn v6_addr(words: &[u32]) -> Ipv6Addr {
    let mut octets = [0; 16];
    for (place, word) in octets.chunks_exact_mut(WORD).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    octets.into()
}

/// The port is in the first two bytes, in network order.
fn at(ip: IpAddr, port: u32) -> SocketAddr {
    let [high, low, ..] = port.to_ne_bytes();
    SocketAddr::new(ip, u16::from_be_bytes([high, low]))
}

fn is_open(state: u32) -> bool {
    [MIB_TCP_STATE_ESTAB, MIB_TCP_STATE_CLOSE_WAIT].iter().any(|open| u32::try_from(*open) == Ok(state))
}

/// The table is a word with the number of rows, and then the rows.
fn rows(table: &[u32], row: usize) -> impl Iterator<Item = &[u32]> {
    let count = table.first().and_then(|count| usize::try_from(*count).ok()).unwrap_or(0);
    table.get(1..).unwrap_or_default().chunks_exact(row).take(count)
}

#[derive(Clone, Copy)]
enum Version {
    V4,
    V6,
}

fn table(version: Version) -> io::Result<Vec<u32>> {
    let mut table = vec![0_u32; ENOUGH];
    loop {
        let mut size = u32::try_from(table.len() * WORD).map_err(io::Error::other)?;
        let place = table.as_mut_ptr();
        // SAFETY: the system writes at most `size` bytes, and returns how many it needs.
        let answer = unsafe {
            match version {
                Version::V4 => GetTcpTable(place.cast(), &raw mut size, 0),
                Version::V6 => GetTcp6Table(place.cast(), &raw mut size, 0),
            }
        };
        match answer {
            NO_ERROR => return Ok(table),
            // The table may grow until the next call.
            ERROR_INSUFFICIENT_BUFFER => {
                let words = usize::try_from(size).map_err(io::Error::other)?.div_ceil(WORD);
                table = vec![0; words + words / 4 + 16];
            }
            code => return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code.to_ne_bytes()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_count_until_they_are_closed() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(addr) else { continue };
            let gates = [listener.local_addr().unwrap()];
            assert_eq!((open(&gates).unwrap(), own(&gates).unwrap()), (0, 0));
            let client = TcpStream::connect(gates[0]).unwrap();
            let (server, _) = listener.accept().unwrap();
            assert_eq!((open(&gates).unwrap(), own(&gates).unwrap()), (1, 1), "{addr}");
            drop(client);
            assert_eq!(open(&gates).unwrap(), 1, "{addr}: the server has not closed it");
            drop(server);
            assert_eq!(open(&gates).unwrap(), 0, "{addr}");
        }
    }

    #[test]
    fn connection_counts_only_at_its_gate() {
        let leads = |gate: &str, local: &str| leads_to(gate.parse().unwrap(), local.parse().unwrap());
        assert!(leads("127.0.0.1:80", "127.0.0.1:80"));
        assert!(leads("0.0.0.0:80", "192.0.2.7:80"));
        assert!(leads("[::]:80", "192.0.2.7:80"));
        assert!(leads("[::]:80", "[::ffff:192.0.2.7]:80"));
        assert!(!leads("127.0.0.1:80", "192.0.2.7:80"));
        assert!(!leads("0.0.0.0:80", "192.0.2.7:81"));
    }
}
