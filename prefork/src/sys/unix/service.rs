//! The service manager: systemd, or whatever else speaks its protocol (`sd_notify(3)`).

use std::env;
use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::sys::Notice;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// What a service manager says to the process that it started, and to no other: a child that spoke
/// to it would speak for the fleet, and one that took the sockets of activation for its own would
/// take whatever has their numbers.
pub(super) const VARIABLES: [&str; 7] = [
    NOTIFY_SOCKET,
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// Whether a service manager wants to be told how this process gets on.
pub(crate) fn is_managed() -> bool {
    env::var_os(NOTIFY_SOCKET).is_some_and(|socket| !socket.is_empty())
}

/// Within which time the service manager wants a sign of life, again and again.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| is_managed() && !interval.is_zero())
}

/// Tells the service manager, all in one message.
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
            // The library's own notice of that name ends at 71 minutes.
            Notice::ExtendTimeout(_) => states.push(NotifyState::Custom(text)),
            Notice::Watchdog => states.push(NotifyState::Watchdog),
        }
    }
    sd_notify::notify(&states)
}

/// What goes with a notice, if anything does.
fn text_of(notice: &Notice<'_>) -> String {
    match notice {
        // A line of the protocol is one notice: an error of user code must not become another.
        Notice::Status(text) => text.replace('\n', " "),
        Notice::ExtendTimeout(time) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
        Notice::Ready | Notice::Reloading | Notice::Stopping | Notice::Watchdog => String::new(),
    }
}
