//! Classic BPF programs on listening sockets: which socket of a group gets a new connection, and whether
//! there are any new connections.

use std::io;

use nix::libc;
use socket2::Socket;

use super::listener::set_option;

/// The kernel refuses longer programs (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;

/// Makes the kernel pick one of `targets` at random for each new connection to the reuseport group
/// that `socket` is in. Targets are places in the group, in the order of joining. Needs no privilege.
///
/// # Errors
///
/// The kernel's refusal; or `ArgumentListTooLong` where the program would be longer than the kernel
/// allows, because more than some 1,300 gaps lie between the targets.
pub(crate) fn steer(socket: &Socket, targets: &[usize]) -> io::Result<()> {
    let mut program = steering_program(targets)?;
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &mut program)
}

/// `A = random() % n`, and then for each run of consecutive targets:
/// `if A < end of the run return A + offset of the run`. The length follows the gaps, not the targets.
fn steering_program(targets: &[usize]) -> io::Result<Vec<libc::sock_filter>> {
    let number = |value: usize| u32::try_from(value).map_err(io::Error::other);
    // The kernel keeps negative offsets for what is not in the packet.
    let random = u32::from_ne_bytes((libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).to_ne_bytes());
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, random),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, number(targets.len())?),
    ];
    let mut start = 0;
    for run in targets.chunk_by(|one, next| one + 1 == *next) {
        let end = start + run.len();
        let is_last = end == targets.len();
        // Skips the two instructions of this run for a number beyond it.
        let beyond = libc::sock_filter {
            jt: 2,
            ..instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, number(end)?)
        };
        program.extend((!is_last).then_some(beyond));
        // Targets ascend, so no run lies before the numbers that stand for it.
        let offset = run.first().map_or(0, |first| first - start);
        program.push(instruction(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 0, number(offset)?));
        program.push(instruction(libc::BPF_RET | libc::BPF_A, 0, 0));
        start = end;
    }
    if program.len() > MAX_INSTRUCTIONS {
        return Err(io::ErrorKind::ArgumentListTooLong.into());
    }
    Ok(program)
}

/// Makes the kernel spread new connections over the whole group again.
pub(crate) fn unsteer(socket: &Socket) -> io::Result<()> {
    match set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, &0_i32) {
        // There was no program.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        detached => detached,
    }
}

/// Stops new connections to the socket: the kernel drops the first segment of every handshake. The client
/// repeats it, and is refused once the socket is closed. Queued connections can still be accepted.
///
/// Recent kernels (such as 6.18.44) let only a process with CAP_NET_ADMIN filter TCP segments. Without it
/// the queue gets the least length: the kernel then drops those segments while a connection is queued.
pub(crate) fn refuse_connections(listener: &Socket) -> io::Result<()> {
    drop_handshakes(listener).or_else(|_| listener.listen(0))
}

/// Drops the first segment of every handshake. A handshake that has begun completes.
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

/// One instruction; `skip` is the number of instructions to skip if a comparison fails.
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

    use socket2::{Domain, Type};

    use super::*;
    use crate::skip::skipped;

    /// What the program returns for this random number.
    fn run(program: &[libc::sock_filter], random: u32) -> usize {
        let mut a = random % program[1].k;
        let mut at = 2;
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => {
                    at += usize::from(if a >= k { jt } else { jf });
                }
                code if code == libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K => a += k,
                code if code == libc::BPF_RET | libc::BPF_A => return a as usize,
                code => panic!("unexpected instruction {code}"),
            }
        }
    }

    #[test]
    fn every_target_is_picked_equally_often() {
        for targets in [vec![0], vec![3], vec![0, 1, 2], vec![1, 2, 5, 7, 8, 9], vec![0, 2, 4, 6]] {
            let program = steering_program(&targets).unwrap();
            let picked: Vec<usize> = (0..program[1].k).map(|random| run(&program, random)).collect();
            assert_eq!(picked, targets);
        }
    }

    #[test]
    fn program_of_8192_slots_with_gaps_fits_and_too_many_gaps_are_refused() {
        let few_gaps: Vec<usize> = (0..8192).filter(|slot| slot % 10 != 0).collect();
        assert!(steering_program(&few_gaps).unwrap().len() <= MAX_INSTRUCTIONS);
        let many_gaps: Vec<usize> = (0..8192).filter(|slot| slot % 2 == 0).collect();
        assert_eq!(steering_program(&many_gaps).unwrap_err().kind(), ErrorKind::ArgumentListTooLong);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        steer(&socket, &few_gaps).unwrap();
        unsteer(&socket).unwrap();
    }

    /// Queues one connection, calls `refuse`, checks that the connection can still be accepted, and returns
    /// the error of a later client.
    fn error_of_late_client(addr: &str, refuse: impl Fn(&Socket) -> io::Result<()>) -> Option<ErrorKind> {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut early = TcpStream::connect(addr).unwrap();
        let listener = Socket::from(listener);
        refuse(&listener).ok()?;
        let late = connect(addr).unwrap_err().kind();
        early.write_all(b"early").unwrap();
        let mut received = [0; 5];
        Read::read_exact(&mut listener.accept().unwrap().0, &mut received).unwrap();
        assert_eq!(received, *b"early");
        Some(late)
    }

    /// Waits for less time than a client takes to repeat a segment that was dropped.
    fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&addr, Duration::from_millis(300))
    }

    #[test]
    fn late_client_times_out_and_queued_connection_is_accepted() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            if TcpListener::bind(addr).is_err() {
                skipped("ipv6");
                continue;
            }
            assert_eq!(error_of_late_client(addr, refuse_connections), Some(ErrorKind::TimedOut));
            assert_eq!(error_of_late_client(addr, |listener| listener.listen(0)), Some(ErrorKind::TimedOut));
            match error_of_late_client(addr, drop_handshakes) {
                Some(kind) => assert_eq!(kind, ErrorKind::TimedOut),
                None => skipped("socket-filters"),
            }
        }
    }

    #[test]
    fn filter_stops_connections_also_with_an_empty_queue() {
        let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        if drop_handshakes(&listener).is_err() {
            return skipped("socket-filters");
        }
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(connect(addr).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
