//! Notification of the service manager: systemd, or another that has its protocol (`sd_notify(3)`).

use std::env;
use std::fmt::Write;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use sd_notify::NotifyState;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::sys::Notice;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// Device and inode of the standard output or error that the journal reads (`systemd.exec(5)`).
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// The variables with which a service manager informs the process that it started. Children must not
/// inherit them: a child's notification would count as the fleet's, and a child that looked for passed
/// sockets would use whatever descriptors have their numbers.
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

/// Whether standard error goes to systemd's journal, which has named its file in the environment. A program may
/// replace its standard error at any time, such as in `on_log_reopen`.
pub(crate) fn stderr_is_journal() -> bool {
    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    let Some(named) = NAMED.get_or_init(|| env::var(JOURNAL_STREAM).ok()) else { return false };
    let file = nix::sys::stat::fstat(io::stderr());
    file.is_ok_and(|file| *named == format!("{}:{}", file.st_dev, file.st_ino))
}

/// The interval within which the service manager expects a watchdog notification.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| is_managed() && !interval.is_zero())
}

/// Sends the notices to the service manager, in one message. Never waits: the queue of a service manager
/// that does not read is full at some time, and the message is not sent then.
pub(crate) fn notify(notices: &[Notice<'_>]) -> io::Result<()> {
    let Some(path) = env::var_os(NOTIFY_SOCKET) else { return Ok(()) };
    let message = message_of(notices)?;
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.send_to(message.as_bytes(), &SockAddr::unix(path)?) {
        Ok(length) if length == message.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_full(&error) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "it does not read its socket"))
        }
        Err(error) => Err(error),
    }
}

/// Whether this is the error for a full queue on systems other than Linux.
fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

fn message_of(notices: &[Notice<'_>]) -> io::Result<String> {
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
    let mut message = String::new();
    for state in &states {
        writeln!(message, "{state}").map_err(io::Error::other)?;
    }
    Ok(message)
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
