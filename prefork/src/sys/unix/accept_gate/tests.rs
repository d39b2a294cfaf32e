use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use super::super::channel::Channel;
use super::*;

/// The listener of a server, and its gate. The socket is also on its way through a channel, and so stays
/// open as it does in a fleet.
struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    gate: AcceptGate,
    _fleet: (Channel, OwnedFd),
}

fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let socket = Socket::from(listener.try_clone().unwrap());
    let (mut channel, other_end) = Channel::pair().unwrap();
    channel.send("a listener", &[&socket]).unwrap();
    let gate = AcceptGate::new(&[socket]).unwrap();
    Server { listener, addr, gate, _fleet: (channel, other_end) }
}

#[test]
fn closed_gate_replaces_every_copy_of_the_listener_and_nothing_else() {
    let Server { listener, addr, mut gate, _fleet } = server();
    let copy = listener.try_clone().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other_addr = other.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    gate.close().unwrap();
    let _client = TcpStream::connect(addr).unwrap();
    for replaced in [&listener, &copy] {
        assert_ne!(replaced.local_addr().unwrap(), addr);
        assert_eq!(replaced.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(other.local_addr().unwrap(), other_addr);
}

#[test]
fn listener_that_the_server_has_closed_is_not_replaced() {
    let Server { listener, mut gate, _fleet, .. } = server();
    drop(listener);
    gate.close().unwrap();
    assert_eq!(gate.replaced, []);
}

#[test]
fn thread_in_accept_is_interrupted_and_woken_behind_the_gate() {
    let Server { listener, addr, mut gate, _fleet } = server();
    let accepting = thread::spawn(move || listener.accept().unwrap().1);
    gate.close().unwrap();
    if gate.interrupt_accepts().is_err() {
        // This system cannot tell.
        TcpStream::connect(addr).unwrap();
        accepting.join().unwrap();
        return;
    }
    while gate.interrupt_accepts().unwrap() != (1, false) {
        thread::yield_now();
    }
    let _late_client = TcpStream::connect(addr).unwrap();
    thread::sleep(Duration::from_millis(20));
    assert!(!accepting.is_finished(), "the late client was accepted");
    gate.wake_acceptors(1);
    assert!(accepting.join().unwrap().ip().is_loopback());
}

/// A thread that has just left `accept` may be in a read when the signal arrives.
#[cfg(target_os = "linux")]
#[test]
fn signal_that_interrupts_accept_does_not_make_a_read_fail() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::os::unix::thread::JoinHandleExt;

    let Server { mut gate, _fleet, .. } = server();
    gate.close().unwrap();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let reading = thread::spawn(move || {
        tell.send(nix::unistd::gettid()).unwrap();
        theirs.read(&mut [0; 1])
    });
    let task = format!("/proc/self/task/{}", told.recv().unwrap());
    let wait_for = |file: &str, text: &str| {
        // The thread is gone if its read has failed.
        while std::fs::read_to_string(format!("{task}/{file}")).is_ok_and(|found| !found.contains(text)) {
            thread::yield_now();
        }
    };
    wait_for("syscall", &format!("{} ", nix::libc::SYS_recvfrom));
    // SAFETY: the thread was not joined yet.
    assert_eq!(unsafe { nix::libc::pthread_kill(reading.as_pthread_t(), WAKE as i32) }, 0);
    // It has handled the signal.
    wait_for("status", "SigPnd:\t0000000000000000");
    ours.write_all(b"x").unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), 1);
}

#[cfg(target_os = "linux")]
mod epoll_sets {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::*;

    fn set_with(listener: &TcpListener, flags: EpollFlags) -> Epoll {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        set.add(listener, EpollEvent::new(EpollFlags::EPOLLIN | flags, 77)).unwrap();
        set
    }

    fn wait(set: &Epoll) -> Vec<(EpollFlags, u64)> {
        let mut events = [EpollEvent::empty(); 8];
        let count = set.wait(&mut events, EpollTimeout::from(50_u8)).unwrap();
        events[..count].iter().map(|event| (event.events(), event.data())).collect()
    }

    #[test]
    fn registration_is_moved_to_the_decoy_with_its_events_and_data() {
        for flags in [EpollFlags::empty(), EpollFlags::EPOLLET, EpollFlags::EPOLLEXCLUSIVE] {
            let Server { listener, addr, mut gate, _fleet } = server();
            let set = set_with(&listener, flags);
            gate.close().unwrap();
            let _client = TcpStream::connect(addr).unwrap();
            assert_eq!(wait(&set), [], "a new connection wakes a closed server, {flags:?}");
            gate.wake_acceptors(1);
            assert_eq!(wait(&set), [(EpollFlags::EPOLLIN, 77)], "{flags:?}");
            // As a runtime does with a listener that it drops.
            set.delete(&listener).unwrap();
        }
    }

    /// The server closes its listener, and opens a file that gets its number, while the gate closes.
    #[test]
    fn file_that_took_the_listeners_number_is_not_registered() {
        let Server { listener, gate, _fleet, .. } = server();
        let number = 901;
        // SAFETY: the number is free, and the copy owns it.
        let registered = unsafe { nix::unistd::dup2_raw(&listener, number) }.unwrap();
        let registered = TcpListener::from(registered);
        let set = set_with(&registered, EpollFlags::empty());
        let guarded = &gate.listeners[0];
        let moved = epoll::remove(&epoll::sets(&open_descriptors()), number, guarded.id.inode());
        assert_eq!(moved.len(), 1);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // SAFETY: the number is that of `registered`, which the test owns and forgets.
        let file = unsafe { nix::unistd::dup2_raw(&ours, registered.into_raw_fd()) }.unwrap();
        guarded.put_decoy(number, &moved).unwrap();
        theirs.write_all(b"x").unwrap();
        assert_eq!(wait(&set), []);
        drop(file);
    }

    #[test]
    fn registration_under_a_number_that_was_closed_is_removed() {
        let Server { listener, addr, mut gate, _fleet } = server();
        // A number that no other test uses in between.
        let number = 900;
        // SAFETY: the number is free, and the copy owns it.
        let registered = unsafe { nix::unistd::dup2_raw(&listener, number) }.unwrap();
        let set = set_with(&TcpListener::from(registered), EpollFlags::empty());
        gate.close().unwrap();
        let _client = TcpStream::connect(addr).unwrap();
        assert_eq!(wait(&set), []);
    }
}
