//! Notification of the service manager: systemd, or another that has its protocol (`sd_notify(3)`).

use std::env;
use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::sys::Notice;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// What a service manager tells the process that it started. Children must not see it: a child's
/// notification would count as the fleet's, and a child that looked for passed sockets would take
/// whatever descriptors have their numbers.
pub(super) const VARIABLES: [&str; 7] = [
    NOTIFY_SOCKET,
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// Whether a service manager wants notifications from this process.
pub(crate) fn is_managed() -> bool {
    env::var_os(NOTIFY_SOCKET).is_some_and(|socket| !socket.is_empty())
}

/// The interval within which the service manager expects a watchdog notification.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| is_managed() && !interval.is_zero())
}

/// Sends the notices to the service manager, in one message.
pub(crate) fn notify(notices: &[Notice<'_>]) -> io::Result<()> {
    let texts: Vec<String> = notices.iter().map(text_of).collect();
    let mut states = Vec::with_capacity(notices.len() + 1);
    for (notice, text) in notices.iter().zip(&texts) {
        match notice {
            Notice::Ready => states.push(NotifyState::Ready),
            Notice::Reloading => {
                states.push(NotifyState::Reloading);
                states.push(NotifyState::monotonic_usec_now()?);
            }
            Notice::Stopping => states.push(NotifyState::Stopping),
            Notice::Status(_) => states.push(NotifyState::Status(text)),
            // The library's own variant is limited to 71 minutes.
            Notice::ExtendTimeout(_) => states.push(NotifyState::Custom(text)),
            Notice::Watchdog => states.push(NotifyState::Watchdog),
        }
    }
    sd_notify::notify(&states)
}

/// The text of a notice, if it has one.
fn text_of(notice: &Notice<'_>) -> String {
    match notice {
        // Each line of the protocol is one notice, and the text may be an error of user code.
        Notice::Status(text) => text.replace('\n', " "),
        Notice::ExtendTimeout(time) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
        Notice::Ready | Notice::Reloading | Notice::Stopping | Notice::Watchdog => String::new(),
    }
}
