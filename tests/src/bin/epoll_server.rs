//! A server with an epoll loop of its own, which knows nothing of a stop: a thread waits for connections, and
//! each connection has a thread. The option `events` says how the listener is watched: `level`, `edge` or
//! `exclusive`; `pause` is the time in milliseconds from an event to `accept`.

#[cfg(target_os = "linux")]
mod server {
    use std::io;
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use prefork::ChildContext;
    use prefork_tests::app;

    pub(super) fn serve(ln: TcpListener, child: ChildContext) -> io::Result<()> {
        let watched = match app::option("events").as_deref() {
            Some("edge") => EpollFlags::EPOLLET,
            Some("exclusive") => EpollFlags::EPOLLEXCLUSIVE,
            _ => EpollFlags::empty(),
        };
        ln.set_nonblocking(true)?;
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        set.add(&ln, EpollEvent::new(EpollFlags::EPOLLIN | watched, 0))?;
        let pause = Duration::from_millis(app::option("pause").map_or(0, |ms| ms.parse().unwrap_or(0)));
        // Until then this child and the one that it will replace wait for the same connections.
        thread::spawn(move || {
            thread::sleep(4 * pause);
            child.ready();
        });
        let mut events = [EpollEvent::empty()];
        loop {
            match set.wait(&mut events, EpollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            thread::sleep(pause);
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
    prefork_tests::app::start(prefork_tests::app::builder(server::serve).ready(prefork::Readiness::Manual))
}

#[cfg(not(target_os = "linux"))]
fn main() {}
