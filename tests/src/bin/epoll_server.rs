//! A server with an epoll loop of its own, which knows nothing of a stop: a thread waits for connections, and
//! each connection has a thread. The option `events` says how the listener is watched: `level`, `edge` or
//! `exclusive`.

#[cfg(target_os = "linux")]
mod server {
    use std::io;
    use std::net::TcpListener;
    use std::thread;

    use nix::errno::Errno;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use prefork_tests::app;

    pub(super) fn serve(ln: TcpListener) -> io::Result<()> {
        let watched = match app::option("events").as_deref() {
            Some("edge") => EpollFlags::EPOLLET,
            Some("exclusive") => EpollFlags::EPOLLEXCLUSIVE,
            _ => EpollFlags::empty(),
        };
        ln.set_nonblocking(true)?;
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        set.add(&ln, EpollEvent::new(EpollFlags::EPOLLIN | watched, 0))?;
        let mut events = [EpollEvent::empty()];
        loop {
            match set.wait(&mut events, EpollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            accept_all(&ln);
        }
    }

    fn accept_all(ln: &TcpListener) {
        while let Ok((stream, _)) = ln.accept() {
            thread::spawn(move || {
                stream.set_nonblocking(false)?;
                app::answer(stream)
            });
        }
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    prefork_tests::app::start(prefork_tests::app::builder(server::serve))
}

#[cfg(not(target_os = "linux"))]
fn main() {}
