//! Arrangements without prefork: children forked or spawned by hand, and one process with threads.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::wait;
use nix::unistd::{ForkResult, fork};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Arguments, ROLE, http, print_up};
use crate::linux::BenchResult;

const BACKLOG: i32 = 1024;

/// Forks children, and another one for each that ends.
pub(super) fn forked(arguments: &Arguments) -> BenchResult<()> {
    let shared = match arguments.arrangement.as_str() {
        "forked-shared" => Some(listen(arguments.addr, false)?),
        _ => None,
    };
    let mut missing = arguments.workers;
    loop {
        for _ in 0..missing {
            // SAFETY: this process has one thread.
            if let ForkResult::Child = unsafe { fork() }? {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                let own =
                    shared.as_ref().map_or_else(|| listen(arguments.addr, true), TcpListener::try_clone);
                return serve_alone(arguments, own?);
            }
        }
        wait()?;
        missing = 1;
    }
}

/// Executes children: what any master does whose children have a memory layout of their own.
pub(super) fn spawned(arguments: &Arguments) -> BenchResult<()> {
    let mut missing = arguments.workers;
    loop {
        for _ in 0..missing {
            let mut command = Command::new("/proc/self/exe");
            command.args([ROLE, "spawned-child", &arguments.addr.to_string(), "1"]).stdin(Stdio::null());
            if let Some((cert, key)) = &arguments.tls {
                command.args([cert, key]);
            }
            // Its status is taken with that of all others.
            drop(command.spawn()?);
        }
        wait()?;
        missing = 1;
    }
}

pub(super) fn spawned_child(arguments: &Arguments) -> BenchResult<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    serve_alone(arguments, listen(arguments.addr, true)?)
}

fn serve_alone(arguments: &Arguments, listener: TcpListener) -> BenchResult<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(serve(arguments, listener))?)
}

/// One process, with a thread for each worker.
pub(super) fn threads(arguments: &Arguments) -> BenchResult<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.workers).enable_all().build()?;
    let listener = listen(arguments.addr, false)?;
    let tls = arguments.acceptor()?;
    // As a task, so that the thread of `block_on` takes no part.
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        print_up();
        tokio::spawn(http::serve(listener, tls, pending())).await.map_err(io::Error::other)?
    })?;
    Ok(())
}

async fn serve(arguments: &Arguments, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let tls = arguments.acceptor().map_err(|error| io::Error::other(error.to_string()))?;
    print_up();
    http::serve(listener, tls, pending()).await
}

fn listen(addr: SocketAddr, reuseport: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuseport)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
