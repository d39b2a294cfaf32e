//! A server that runs in a thread of its test, without children.
#![cfg(any(target_os = "linux", windows))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic fails the test")]

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prefork::{ChildContext, Error, FleetHandle, FleetState, Prefork, Shutdown};
use prefork_tests::{app, client, wait};

/// A server in a thread.
struct Running {
    addr: Receiver<SocketAddr>,
    handle: FleetHandle,
    thread: JoinHandle<Result<(), Error>>,
}

fn start<R: std::process::Termination + 'static>(
    serve: impl Fn(&TcpListener, &Shutdown) -> R + Send + 'static,
) -> Running {
    let (started, addr) = mpsc::channel();
    let (handles, handle) = mpsc::channel();
    // A serve function need not be `Send`: the fleet is made in its thread.
    let thread = thread::spawn(move || {
        let fleet = Prefork::new(move |ln: TcpListener, shutdown: Shutdown, child: ChildContext| {
            assert_eq!((child.slot(), child.master_pid()), (0, std::process::id()));
            started.send(ln.local_addr().unwrap()).unwrap();
            serve(&ln, &shutdown)
        });
        let fleet = fleet.workers(0).environment(false).shutdown_grace("60s");
        handles.send(fleet.handle()).unwrap();
        fleet.listen_and_serve("127.0.0.1:0")
    });
    Running { addr, handle: handle.recv().unwrap(), thread }
}

/// Answers connections until a stop is requested; the listener does not block.
fn serve(ln: &TcpListener, shutdown: &Shutdown) {
    ln.set_nonblocking(true).unwrap();
    while !shutdown.is_requested() {
        match ln.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                app::answer(stream).unwrap();
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[test]
fn servers_of_one_process_serve_at_once_and_return_when_they_are_stopped() {
    for _ in 0..2 {
        let servers = [start(serve), start(serve)];
        let addrs = servers.each_ref().map(|server| server.addr.recv().unwrap());
        for addr in addrs {
            assert_eq!(client::serving_pid(addr), std::process::id());
        }
        assert!(!prefork::is_child());
        let [first, second] = servers;
        first.handle.stop();
        first.thread.join().unwrap().unwrap();
        assert_eq!(first.handle.status().state, FleetState::Ended);
        wait::until("closed listener", || client::is_refused(addrs[0]));
        client::serving_pid(addrs[1]);
        second.handle.stop();
        second.thread.join().unwrap().unwrap();
    }
}

#[test]
fn return_and_panic_of_the_serve_function_are_those_of_the_thread() {
    let returns = start(|_, _| ());
    returns.thread.join().unwrap().unwrap();
    let panics = start(|_, _| -> () { panic!("on request") });
    let payload = panics.thread.join().unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"on request"));
}

#[test]
fn error_of_the_start_is_returned() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let fleet = Prefork::new(|_: TcpListener| ()).workers(0).environment(false);
    assert!(matches!(fleet.listen_and_serve(addr), Err(Error::Bind { .. })));
}
