//! The master's thread for each child: waits for its messages and its exit.

use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use super::channel::{Channel, Received};
use super::object;
use crate::sys::Signal;

/// What threads report to the reactor.
#[derive(Debug)]
pub(super) enum Report<K> {
    /// A request to the master.
    Signal(Signal),
    /// A line from a child.
    Line(K, String),
    /// A child has closed its end of the channel.
    HungUp(K),
    /// A child has sent what no prefork process sends.
    BadMessage(K, String),
    /// A child has exited; its status can be taken.
    Exited(K),
    /// A waker wants the reactor to return.
    Woken,
}

/// Small, because there can be thousands; none calls anything deep.
const STACK: usize = 128 * 1024;

/// Starts the thread for the child whose process is `process`. The thread ends after the child's exit.
pub(super) fn start<K: Copy + Send + 'static>(
    key: K,
    channel: Channel,
    process: OwnedHandle,
    reports: Sender<Report<K>>,
) -> io::Result<()> {
    thread::Builder::new()
        .name("prefork-child".to_owned())
        .stack_size(STACK)
        .spawn(move || report(key, channel, &process, &reports))?;
    Ok(())
}

// Sending fails once the reactor is dropped; it then kills the child.
fn report<K: Copy>(key: K, mut channel: Channel, process: &OwnedHandle, reports: &Sender<Report<K>>) {
    let pass_on = |channel: &mut Channel| {
        while let Some(line) = channel.next_line() {
            let _ = reports.send(Report::Line(key, line));
        }
    };
    loop {
        match channel.receive(Some(process.as_handle()), None) {
            Ok(Received::Bytes) => pass_on(&mut channel),
            Ok(Received::Nothing) => {}
            Ok(Received::Other) => {
                // Messages come before exits: a child may send one and exit.
                while let Ok(Received::Bytes) = channel.receive(None, Some(Duration::ZERO)) {
                    pass_on(&mut channel);
                }
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // What came before the bad message counts as well. The channel stays open until the exit, so
                // that the child does not take its master for dead.
                pass_on(&mut channel);
                let _ = reports.send(Report::BadMessage(key, error.to_string()));
                let _ = object::wait_any(&[process.as_handle()], None);
                break;
            }
            Ok(Received::End) | Err(_) => {
                drop(channel);
                let _ = reports.send(Report::HungUp(key));
                // If waiting fails, the reactor waits for the exit itself.
                let _ = object::wait_any(&[process.as_handle()], None);
                break;
            }
        }
    }
    let _ = reports.send(Report::Exited(key));
}
