//! Events of the console: Ctrl-C, Ctrl-Break, and its closing.
//!
//! Ctrl-C reaches the master alone, because each child leads a process group; Ctrl-Break and the closing of
//! the console reach every process. A child ignores all of it, and does what its master asks for.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use super::object;
use crate::sys::Signal;

/// What handles the events.
enum Handler {
    /// No handler here: the process's other handlers apply.
    None,
    /// A master's reactor.
    Master(Box<dyn Fn(Signal) + Send>),
    /// A child, which does nothing.
    Child,
}

static HANDLER: Mutex<Handler> = Mutex::new(Handler::None);

fn handler() -> MutexGuard<'static, Handler> {
    HANDLER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on each request to stop calls `tell`, in a thread of the system.
pub(super) fn listen(tell: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    *handler() = Handler::Master(Box::new(tell));
    install()
}

/// From now on no event of the console ends this process.
pub(super) fn ignore() -> io::Result<()> {
    *handler() = Handler::Child;
    install()
}

/// Console events have the same effect again as before.
pub(super) fn restore() {
    *handler() = Handler::None;
    // SAFETY: removing the handler is safe at any time; one that was never set is an error.
    unsafe { SetConsoleCtrlHandler(Some(handle), 0) };
}

fn install() -> io::Result<()> {
    // SAFETY: the handler is a function that lives as long as the process, and safe in any thread.
    object::check(unsafe { SetConsoleCtrlHandler(Some(handle), 1) })
}

extern "system" fn handle(event: u32) -> BOOL {
    let is_end = match event {
        CTRL_C_EVENT | CTRL_BREAK_EVENT => false,
        CTRL_CLOSE_EVENT | CTRL_SHUTDOWN_EVENT => true,
        // A service outlives a user's logoff; the other events are unknown.
        _ => return 0,
    };
    match &*handler() {
        Handler::None => return 0,
        Handler::Master(tell) => tell(Signal::Stop),
        Handler::Child => {}
    }
    if is_end {
        // When this returns, the system ends the process; until then it allows a few seconds.
        loop {
            thread::park();
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn master_handles_breaks_and_child_ignores_them() {
        let (sender, requests) = mpsc::channel();
        listen(move |request| sender.send(request).unwrap()).unwrap();
        for event in [CTRL_C_EVENT, CTRL_BREAK_EVENT] {
            assert_eq!(handle(event), 1);
            assert_eq!(requests.recv(), Ok(Signal::Stop));
        }
        ignore().unwrap();
        assert_eq!(handle(CTRL_BREAK_EVENT), 1);
        restore();
        assert_eq!(handle(CTRL_C_EVENT), 0);
        requests.recv().unwrap_err();
    }
}
