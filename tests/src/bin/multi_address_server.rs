//! A server on several addresses of any kind: a thread for each listener, and a thread for each
//! connection.
//!
//! Further options: `addrs`, separated by commas; `socket_options`: any value sets every option of TCP
//! listeners; `unix_owner`; `takes`: the argument of the serve function, `tcp`, `pair` (two
//! TCP listeners), `unix`, `mixed` (one of each), `tokio` (an async Unix listener), by default
//! `Vec<Listener>`; `overrides`: a file with addresses that replace the others, as in a rebuilt program.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::thread;

use prefork::{Listener, Prefork, Serve};
use prefork_tests::app;

fn main() -> ExitCode {
    match app::option("takes").as_deref() {
        Some("tcp") => start(|ln: TcpListener| serve(vec![Listener::Tcp(ln)])),
        Some("pair") => start(|(web, admin): (TcpListener, TcpListener)| {
            serve(vec![Listener::Tcp(web), Listener::Tcp(admin)])
        }),
        #[cfg(unix)]
        Some("unix") => start(|ln: UnixListener| serve(vec![Listener::Unix(ln)])),
        #[cfg(unix)]
        Some("mixed") => start(|(web, admin): (TcpListener, UnixListener)| {
            serve(vec![Listener::Tcp(web), Listener::Unix(admin)])
        }),
        #[cfg(unix)]
        Some("tokio") => start(serve_unix),
        _ => start(serve),
    }
}

#[cfg(unix)]
async fn serve_unix(ln: tokio::net::UnixListener) -> io::Result<()> {
    loop {
        let (stream, _) = ln.accept().await?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        answer(stream)?;
    }
}

fn start<Args>(serve: impl Serve<Args>) -> ExitCode {
    let mut fleet = app::builder(serve);
    if let Some(owner) = app::option("unix_owner") {
        fleet = fleet.unix_owner(owner);
    }
    if app::option("socket_options").is_some() {
        fleet = with_socket_options(fleet);
    }
    let overrides = app::option("overrides").and_then(|path| fs::read_to_string(path).ok());
    match overrides.or_else(|| app::option("addrs")) {
        Some(addrs) => app::finish(fleet.addrs(addrs.split(',')).run()),
        None => app::start(fleet),
    }
}

fn with_socket_options(fleet: Prefork) -> Prefork {
    let fleet = fleet.nodelay(true).keepalive("90s");
    if cfg!(windows) { fleet } else { fleet.defer_accept("3s").fastopen(16) }
}

fn serve(listeners: Vec<Listener>) -> io::Result<()> {
    let serving: Vec<_> = listeners.into_iter().map(|ln| thread::spawn(move || accept_on(ln))).collect();
    for thread in serving {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(())
}

fn accept_on(listener: Listener) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => app::incoming(&listener).try_for_each(|stream| answer(stream?)),
        #[cfg(unix)]
        Listener::Unix(listener) => listener.incoming().try_for_each(|stream| answer(stream?)),
        other => Err(io::Error::other(format!("unknown listener: {other:?}"))),
    }
}

fn answer(stream: impl Read + Write + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(move || app::answer(stream)).map(drop)
}
