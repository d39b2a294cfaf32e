//! A server whose children do, on request, what the master and the other children must withstand.
//!
//! A request for `/flood`, `/half-line`, `/rubbish`, `/descriptors`, `/close` or `/exec` attacks the link to the
//! master, `/kill-master` its process, and `/shutdown`, `/nonblocking`, `/short-queue`, `/filter`, `/capture`
//! and `/steal` the listening socket. With the option `block_term` no thread of a child receives SIGTERM.
#![allow(clippy::expect_used, reason = "a panic fails the test")]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use nix::sys::signal::{SigSet, Signal};
    use prefork_tests::app;

    if prefork::is_child() {
        attack::keep_link();
    }
    if prefork::is_child() && app::option("block_term").is_some() {
        // Every thread that is started later inherits this.
        SigSet::from(Signal::SIGTERM).thread_block().expect("the mask can be set");
    }
    app::start(app::builder(attack::serve))
}

#[cfg(target_os = "linux")]
mod attack {
    use std::io::{self, IoSlice};
    use std::net::{Shutdown, TcpListener};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};
    use std::{fs, process, thread};

    use nix::libc;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::socket::{ControlMessage, MsgFlags, send, sendmsg, setsockopt, shutdown, sockopt};
    use nix::unistd::getppid;
    use prefork_tests::app;
    use socket2::{SockFilter, SockRef};

    /// The link to the master, which is standard input until the child takes the handshake.
    static LINK: OnceLock<OwnedFd> = OnceLock::new();

    /// `BPF_RET | BPF_K`: an instruction that returns a constant, here what is kept of a packet.
    const RETURN: u16 = 6;

    pub(super) fn keep_link() {
        LINK.get_or_init(|| io::stdin().as_fd().try_clone_to_owned().expect("standard input is open"));
    }

    pub(super) fn serve(ln: TcpListener) -> io::Result<()> {
        // Children share the socket, and one may have changed its mode.
        ln.set_nonblocking(false)?;
        let ln = Arc::new(ln);
        let steals = Arc::new(AtomicBool::new(false));
        let mut stolen = Vec::new();
        for stream in ln.incoming() {
            let stream = stream?;
            if steals.load(Ordering::SeqCst) {
                stolen.push(stream);
                continue;
            }
            let (ln, steals) = (Arc::clone(&ln), Arc::clone(&steals));
            thread::spawn(move || {
                app::answer_or(stream, |path| match attack(path, &ln, &steals) {
                    Ok(()) => process::id().to_string(),
                    Err(error) => format!("{path} failed: {error}"),
                })
            });
        }
        Ok(())
    }

    fn attack(path: &str, ln: &TcpListener, steals: &AtomicBool) -> io::Result<()> {
        let socket = SockRef::from(ln);
        match path {
            "/flood" => repeat(|link| send_text(link, &b"ready\n".repeat(100))),
            "/half-line" => repeat(|link| send_text(link, &[b'x'; 100])),
            "/rubbish" => {
                link(|link| send_text(link, b"\xff\0 rubbish\nready\nready=\n\nreceived twice=1\n"))
            }
            "/descriptors" => link(send_descriptors),
            "/close" => {
                link(|link| Ok(shutdown(link, nix::sys::socket::Shutdown::Both)?))?;
                // The child takes its master for dead, and waits for this request.
                loop {
                    thread::park();
                }
            }
            "/exec" => Err(Command::new("sleep").arg("1000").exec()),
            "/kill-master" => Ok(kill(getppid(), Signal::SIGKILL)?),
            "/shutdown" => socket.shutdown(Shutdown::Both),
            "/nonblocking" => ln.set_nonblocking(true),
            "/short-queue" => socket.listen(0),
            "/filter" => socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]),
            "/capture" => capture(ln),
            "/steal" => {
                steals.store(true, Ordering::SeqCst);
                Ok(())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Attacks in a thread of its own until the link is closed.
    fn repeat(act: impl Fn(RawFd) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        thread::spawn(move || while link(&act).is_ok() {});
        Ok(())
    }

    /// Calls `act` with each descriptor of the link to the master.
    fn link(act: impl Fn(RawFd) -> io::Result<()>) -> io::Result<()> {
        let links = links()?;
        if links.is_empty() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        links.into_iter().try_for_each(act)
    }

    /// Every descriptor of this process for the link.
    fn links() -> io::Result<Vec<RawFd>> {
        let target = |number: RawFd| fs::read_link(format!("/proc/self/fd/{number}")).ok();
        let Some(link) = LINK.get().and_then(|link| target(link.as_raw_fd())) else { return Ok(Vec::new()) };
        let numbers = fs::read_dir("/proc/self/fd")?.flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(numbers.filter(|number| target(*number).as_ref() == Some(&link)).collect())
    }

    fn send_text(link: RawFd, text: &[u8]) -> io::Result<()> {
        send(link, text, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Sends two thousand descriptors with a few bytes of text.
    fn send_descriptors(link: RawFd) -> io::Result<()> {
        let null = fs::File::open("/dev/null")?;
        let descriptors = [null.as_raw_fd(); 200];
        for _ in 0..10 {
            let control = [ControlMessage::ScmRights(&descriptors)];
            sendmsg::<()>(link, &[IoSlice::new(b"x")], &control, MsgFlags::MSG_NOSIGNAL, None)?;
        }
        send_text(link, b"\n")
    }

    /// Sends every new connection of the reuseport group to the first socket in it.
    fn capture(ln: &TcpListener) -> io::Result<()> {
        let mut program = returns(0);
        let program = libc::sock_fprog { len: 1, filter: &raw mut program };
        Ok(setsockopt(ln, sockopt::AttachReusePortCbpf, &program)?)
    }

    /// A program that returns `value` for every packet.
    fn returns(value: u32) -> libc::sock_filter {
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: value }
    }
}
