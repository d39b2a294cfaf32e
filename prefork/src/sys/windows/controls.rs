//! Events in place of the signals that Windows lacks: `Global\prefork-<pid>-stop` and others, where pid is
//! the master's. Setting one makes a request; from PowerShell:
//!
//! ```text
//! [Threading.EventWaitHandle]::OpenExisting('Global\prefork-4711-stop').Set()
//! ```

use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::thread::{self, JoinHandle};

use super::object;
use crate::sys::Signal;

const REQUESTS: [(&str, Signal); 6] = [
    ("stop", Signal::Stop),
    ("quit", Signal::Quit),
    ("reload", Signal::Reload),
    ("grow", Signal::Grow),
    ("shrink", Signal::Shrink),
    ("reopen", Signal::ReopenLogs),
];

/// The name of the event for a request to the master with this pid.
pub(super) fn name(master: u32, request: &str) -> String {
    format!(r"Global\prefork-{master}-{request}")
}

/// A thread that waits for requests, until this is dropped.
#[derive(Debug)]
pub(super) struct Controls {
    over: OwnedHandle,
    thread: Option<JoinHandle<()>>,
}

impl Controls {
    /// From now on each request calls `tell`.
    pub(super) fn listen(tell: impl Fn(Signal) + Send + 'static) -> io::Result<Self> {
        let over = object::event()?;
        let mut events = vec![over.try_clone()?];
        for (request, _) in REQUESTS {
            events.push(object::named_event(&name(std::process::id(), request))?);
        }
        let thread = thread::Builder::new()
            .name("prefork-controls".to_owned())
            .spawn(move || wait_for_requests(&events, tell))?;
        Ok(Self { over, thread: Some(thread) })
    }
}

/// The first event is the end; the others are the requests, in their order.
fn wait_for_requests(events: &[OwnedHandle], tell: impl Fn(Signal)) {
    let events: Vec<BorrowedHandle<'_>> = events.iter().map(AsHandle::as_handle).collect();
    while let Ok(Some(place @ 1..)) = object::wait_any(&events, None) {
        if let Some((_, request)) = REQUESTS.get(place - 1) {
            tell(*request);
        }
    }
}

impl Drop for Controls {
    fn drop(&mut self) {
        if object::set(&self.over).is_ok() {
            // A panic in it has no effect any more.
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn request_arrives_once() {
        let (sender, requests) = mpsc::channel();
        let controls = Controls::listen(move |request| sender.send(request).unwrap()).unwrap();
        let name = name(std::process::id(), "reload");
        // The same event, as another process would open it.
        object::set(&object::named_event(&name).unwrap()).unwrap();
        assert_eq!(requests.recv_timeout(Duration::from_secs(5)), Ok(Signal::Reload));
        drop(controls);
        assert_eq!(requests.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
