//! What a console tells its processes: Ctrl-C, Ctrl-Break, and its own end.
//!
//! Ctrl-C reaches the master alone, for each child leads a process group; Ctrl-Break and the closing
//! of the console reach everybody. A child leaves all of it to its master, who says what is to be done.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use super::object;
use crate::sys::Signal;

/// Who is told.
enum Ear {
    /// Nobody of ours: whatever else the process has set up decides.
    None,
    /// A master's reactor.
    Master(Box<dyn Fn(Signal) + Send>),
    /// A child hears it, and does nothing.
    Child,
}

static EAR: Mutex<Ear> = Mutex::new(Ear::None);

fn ear() -> MutexGuard<'static, Ear> {
    EAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on `tell` hears of each request to stop, in a thread of the system's.
pub(super) fn listen(tell: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    *ear() = Ear::Master(Box::new(tell));
    install()
}

/// From now on no event of the console's ends this process.
pub(super) fn leave_to_master() -> io::Result<()> {
    *ear() = Ear::Child;
    install()
}

/// Console events do again what they did before.
pub(super) fn forget() {
    *ear() = Ear::None;
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
        // A user's logoff is none of a service's business; of the rest we know nothing.
        _ => return 0,
    };
    match &*ear() {
        Ear::None => return 0,
        Ear::Master(tell) => tell(Signal::Stop),
        Ear::Child => {}
    }
    if is_end {
        // When this returns, the system ends the process; until then it gives us a few seconds.
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
    fn the_master_hears_of_breaks_and_a_child_sits_them_out() {
        let (sender, requests) = mpsc::channel();
        listen(move |request| sender.send(request).unwrap()).unwrap();
        for event in [CTRL_C_EVENT, CTRL_BREAK_EVENT] {
            assert_eq!(handle(event), 1);
            assert_eq!(requests.recv(), Ok(Signal::Stop));
        }
        leave_to_master().unwrap();
        assert_eq!(handle(CTRL_BREAK_EVENT), 1);
        forget();
        assert_eq!(handle(CTRL_C_EVENT), 0);
        requests.recv().unwrap_err();
    }
}
