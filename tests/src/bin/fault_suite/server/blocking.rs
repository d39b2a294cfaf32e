//! Blocking servers: a thread for each connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use prefork::{ChildContext, Shutdown};
use prefork_tests::accepts::Stage;
use prefork_tests::app;

use super::Begun;
use super::request::{self, Accepted, Request};

/// How often an idle connection looks for a stop request.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The number of further looks before an idle connection is closed.
const POLLS_AFTER_STOP: u32 = 20;

pub(super) fn serve_plain(ln: TcpListener, _: Begun) -> io::Result<()> {
    request::prepare();
    loop {
        match ln.accept() {
            Ok(accepted) => serve_one(accepted),
            Err(_) => thread::sleep(request::PAUSE),
        }
    }
}

pub(super) fn serve_with_epoll(ln: TcpListener, _: Begun) -> io::Result<()> {
    request::prepare();
    ln.set_nonblocking(true)?;
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    set.add(&ln, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, 0))?;
    let mut events = [EpollEvent::empty()];
    loop {
        match set.wait(&mut events, EpollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            match ln.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(false)?;
                    serve_one((stream, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => thread::sleep(request::PAUSE),
            }
        }
    }
}

fn serve_one((stream, peer): (TcpStream, SocketAddr)) {
    let connection = Accepted::from(peer);
    start_thread(stream, move |mut stream| {
        let Some(bytes) = read_request(&mut stream, &mut Vec::new())? else { return Ok(()) };
        connection.record(Stage::Read);
        stream.write_all(&answer_to(&bytes, None, true))?;
        connection.record(Stage::Answered);
        Ok(())
    });
}

/// Starts a thread for the connection, once that works: the system's table of processes may be full.
fn start_thread(stream: TcpStream, serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) {
    let stream = Mutex::new(Some(stream));
    let job = Arc::new(move || take(&stream).map(&serve));
    insist(|| {
        let job = Arc::clone(&job);
        thread::Builder::new().spawn(move || job()).map(drop)
    });
}

fn take(stream: &Mutex<Option<TcpStream>>) -> Option<TcpStream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn insist(start: impl Fn() -> io::Result<()>) {
    while start().is_err() {
        thread::sleep(request::PAUSE);
    }
}

pub(super) fn serve_keeping(
    ln: TcpListener,
    _: Begun,
    child: ChildContext,
    shutdown: Shutdown,
) -> io::Result<()> {
    request::prepare();
    thread::scope(|scope| {
        while !shutdown.is_requested() {
            match ln.accept() {
                Ok((stream, peer)) => {
                    let (connection, child, stop) = (Accepted::from(peer), &child, &shutdown);
                    let job = Mutex::new(Some(stream));
                    // A panic of a request is its own, and not the scope's.
                    let serve = move |stream| {
                        panic::catch_unwind(AssertUnwindSafe(|| keep(stream, connection, child, stop)))
                    };
                    let job = Arc::new(move || take(&job).map(serve));
                    insist(|| {
                        let job = Arc::clone(&job);
                        thread::Builder::new().spawn_scoped(scope, move || job()).map(drop)
                    });
                }
                Err(_) => thread::sleep(request::PAUSE),
            }
        }
        Ok(())
    })
}

/// Answers requests until the client closes the connection or the child stops.
fn keep(mut stream: TcpStream, peer: Accepted, child: &ChildContext, stop: &Shutdown) -> io::Result<()> {
    stream.set_read_timeout(Some(POLL_INTERVAL))?;
    stream.set_nodelay(true)?;
    let (mut polls, mut bytes) = (0, Vec::new());
    loop {
        match read_request(&mut stream, &mut bytes) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                polls += u32::from(stop.is_requested());
                if polls > POLLS_AFTER_STOP {
                    peer.record(Stage::Closed);
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        peer.record(Stage::Read);
        let last = child.is_stopping();
        let answer = answer_to(&bytes, Some(child), last);
        stream.write_all(&answer)?;
        peer.record(Stage::Answered);
        if last {
            return Ok(());
        }
        (polls, bytes) = (0, Vec::new());
    }
}

/// Reads a complete request after `bytes`; `None` at the end of the connection.
fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => bytes.extend(&buffer[..length]),
            // SIGSTOP and SIGCONT interrupt a read that has a time limit.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(bytes.clone()))
}

/// Does what the request asks for. Only a child with a context notices that it hangs.
fn answer_to(bytes: &[u8], child: Option<&ChildContext>, last: bool) -> Vec<u8> {
    let id = match request::begin(&app::path_of(bytes)) {
        Request::Answer(id) => id,
        Request::AnswerAfter(delay, id) => {
            thread::sleep(delay);
            id
        }
        Request::Fault => "done".to_owned(),
        Request::Hang => {
            let _busy = child.map(ChildContext::busy);
            request::hang()
        }
    };
    request::answer(&id, last)
}
