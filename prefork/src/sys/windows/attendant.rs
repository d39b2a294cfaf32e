//! The master's thread beside each child: waits for its words and its end.

use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use super::channel::{Channel, Received};
use super::object;
use crate::sys::Signal;

/// What threads tell the reactor.
#[derive(Debug)]
pub(super) enum Report<K> {
    /// A request to the master.
    Signal(Signal),
    /// A line that a child said.
    Line(K, String),
    /// A child has closed its end of the handshake.
    HungUp(K),
    /// A child has ended; its status waits.
    Ended(K),
    /// Somebody wants the reactor to return.
    Woken,
}

/// There can be thousands, and none calls anything deep.
const STACK: usize = 128 * 1024;

/// Attends to the child that `process` is. Ends when it has ended.
pub(super) fn start<K: Copy + Send + 'static>(
    key: K,
    channel: Channel,
    process: OwnedHandle,
    events: Sender<Report<K>>,
) -> io::Result<()> {
    thread::Builder::new()
        .name("prefork-attend".to_owned())
        .stack_size(STACK)
        .spawn(move || attend(key, channel, &process, &events))?;
    Ok(())
}

// A reactor that is gone does not hear; then the child is about to be gone as well.
fn attend<K: Copy>(key: K, mut channel: Channel, process: &OwnedHandle, events: &Sender<Report<K>>) {
    let pass_on = |channel: &mut Channel| {
        while let Some(line) = channel.next_line() {
            let _ = events.send(Report::Line(key, line));
        }
    };
    loop {
        match channel.receive(Some(process.as_handle()), None) {
            Ok(Received::Bytes) => pass_on(&mut channel),
            Ok(Received::Nothing) => {}
            Ok(Received::Other) => {
                // Words before ends: a child that says something and exits has said it.
                while let Ok(Received::Bytes) = channel.receive(None, Some(Duration::ZERO)) {
                    pass_on(&mut channel);
                }
                break;
            }
            Ok(Received::End) | Err(_) => {
                drop(channel);
                let _ = events.send(Report::HungUp(key));
                // Should waiting fail, the reactor waits for the end itself.
                let _ = object::wait_any(&[process.as_handle()], None);
                break;
            }
        }
    }
    let _ = events.send(Report::Ended(key));
}
