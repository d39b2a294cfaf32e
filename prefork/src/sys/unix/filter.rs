//! Classic BPF programs on listening sockets: which of a group gets a new connection, and whether
//! there are to be any. `filter_portable.rs` has the same names for the other Unixes.

use std::io;

use nix::libc;
use socket2::Socket;

use super::linux::{set_option, unless};

/// Has the kernel pick one of `targets` at random for each new connection to the reuseport group
/// that `socket` is in. Targets are places in the group, in the order of joining. Wants no privilege.
///
/// `A = random() % n`, then a ladder of `if A == i return targets[i]`.
pub(crate) fn steer(socket: &Socket, targets: &[usize]) -> io::Result<()> {
    let number = |value: usize| u32::try_from(value).map_err(io::Error::other);
    // The kernel keeps negative offsets for what is not in the packet.
    let random = u32::from_ne_bytes((libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).to_ne_bytes());
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, random),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, number(targets.len())?),
    ];
    for (place, target) in targets.iter().enumerate() {
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number(place)?));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, number(*target)?));
    }
    // Never reached; the kernel's verifier wants every path to return.
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0));
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &mut program)
}

/// Has the kernel spread new connections over the whole group again.
pub(crate) fn unsteer(socket: &Socket) -> io::Result<()> {
    // ENOENT: there was no program.
    unless(libc::ENOENT, set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, &0_i32))
}

/// Lets nobody connect to the socket any more: the first segment of every handshake is dropped, so that
/// its sender tries again, and is refused once the socket is closed. What has queued can be accepted.
///
/// Recent kernels (6.18.44 is one) let only a process with CAP_NET_ADMIN filter segments of TCP. Without
/// that the queue is made as short as can be: those segments are then dropped while anybody waits.
pub(crate) fn refuse_connections(listener: &Socket) -> io::Result<()> {
    drop_handshakes(listener).or_else(|_| listener.listen(0))
}

/// Handshakes that have begun come to their end.
///
/// `if flags & (SYN | ACK) == SYN return 0`, of the TCP header with which the kernel's data begins here.
fn drop_handshakes(listener: &Socket) -> io::Result<()> {
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, FLAGS),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, SYN | ACK),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, SYN),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
    ];
    attach(listener, libc::SO_ATTACH_FILTER, &mut program)
}

/// One instruction; `skip` is how many to skip if a comparison fails.
fn instruction(code: u32, skip: u8, k: u32) -> libc::sock_filter {
    // Every opcode fits: they are built from bytes.
    libc::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt: 0, jf: skip, k }
}

fn attach(socket: &Socket, option: libc::c_int, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    set_option(socket, libc::SOL_SOCKET, option, &program)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    /// A listener for whom one connection waits after `shut`, and whoever comes later.
    fn outcome_of_coming_late(addr: &str, shut: impl Fn(&Socket) -> io::Result<()>) -> Option<ErrorKind> {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut early = TcpStream::connect(addr).unwrap();
        let listener = Socket::from(listener);
        shut(&listener).ok()?;
        let late = connect(addr).unwrap_err().kind();
        early.write_all(b"early").unwrap();
        let mut received = [0; 5];
        Read::read_exact(&mut listener.accept().unwrap().0, &mut received).unwrap();
        assert_eq!(received, *b"early");
        Some(late)
    }

    /// Less time than a segment that was dropped takes to come again.
    fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&addr, Duration::from_millis(300))
    }

    #[test]
    fn who_comes_late_is_kept_waiting_and_who_has_queued_is_served() {
        for addr in ["127.0.0.1:0", "[::1]:0"].into_iter().filter(|addr| TcpListener::bind(addr).is_ok()) {
            assert_eq!(outcome_of_coming_late(addr, refuse_connections), Some(ErrorKind::TimedOut));
            assert_eq!(
                outcome_of_coming_late(addr, |listener| listener.listen(0)),
                Some(ErrorKind::TimedOut)
            );
            match outcome_of_coming_late(addr, drop_handshakes) {
                Some(kind) => assert_eq!(kind, ErrorKind::TimedOut),
                None => eprintln!("skipped: this process may not filter what it receives"),
            }
        }
    }

    #[test]
    fn a_filter_lets_nobody_in_even_where_nobody_waits() {
        let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        if drop_handshakes(&listener).is_err() {
            return eprintln!("skipped: this process may not filter what it receives");
        }
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(connect(addr).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
