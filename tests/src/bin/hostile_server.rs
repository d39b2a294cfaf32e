//! A server whose children do, on request, what the master and the other children must withstand.
//!
//! A request for `/flood`, `/half-line`, `/rubbish`, `/descriptors`, `/plan`, `/log`, `/log-flood`, `/close` or `/exec`
//! attacks the link to the master, `/kill-master` its process, and `/shutdown`, `/nonblocking`, `/short-queue`, `/filter`, `/capture`
//! and `/steal` the listening socket. With the option `block_term` no thread of a child receives SIGTERM.
#![allow(clippy::expect_used, reason = "a panic fails the test")]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use nix::sys::signal::{SigSet, Signal};
    use prefork_tests::app;

    if prefork::is_child() && app::option("block_term").is_some() {
        // Every thread that is started later inherits this.
        SigSet::from(Signal::SIGTERM).thread_block().expect("the mask can be set");
    }
    app::start(app::builder(attack::serve))
}

#[cfg(target_os = "linux")]
mod attack {
    use std::io;
    use std::net::{Shutdown, TcpListener};
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::{process, thread};

    use nix::libc;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::socket::{setsockopt, sockopt};
    use nix::unistd::getppid;
    use prefork_tests::{app, link_attack};
    use socket2::{SockFilter, SockRef};

    /// `BPF_RET | BPF_K`: an instruction that returns a constant, here what is kept of a packet.
    const RETURN: u16 = 6;

    pub(super) fn serve(ln: TcpListener, _: app::Booted) -> io::Result<()> {
        link_attack::keep_link();
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
            "/flood" => link_attack::flood(),
            "/half-line" => link_attack::send_half_line(),
            "/rubbish" => link_attack::send_rubbish(),
            "/descriptors" => link_attack::send_descriptors(),
            "/log" => link_attack::send_log(),
            "/log-flood" => link_attack::flood_log(),
            "/plan" => link_attack::send_plan(),
            "/close" => {
                link_attack::close()?;
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
