//! The template: loads, and then forks a child whenever the master orders one.
//!
//! It has one thread, because a fork copies no other: a lock that another thread holds would stay locked in the child,
//! and what that thread does would not be done there. So it has no thread that writes log messages either; they are
//! held until it is ready, or ends. Those who follow the log at the master are told at once.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::Load;
use crate::child::{Adopted, StartError, adopt_forked};
use crate::error::{Error, plain};
use crate::logging::{self, Logger};
use crate::protocol::{FromTemplate, ToMaster, ToTemplate};
use crate::sys::{self, Channel, Forked, NotForked};

/// How long a thread that has been joined may still be seen.
const THREAD_END: Duration = Duration::from_millis(100);

/// Loads, and forks children as long as the master lives. Returns in each child, with its handshake.
///
/// # Errors
///
/// In the template: why it cannot serve orders. In a child: why it cannot serve.
pub(crate) fn serve_orders(
    template: Adopted,
    load: Option<Load>,
    logger: &Logger,
) -> Result<Adopted, StartError> {
    let missing =
        || StartError::Template(io::Error::other("this program has no `preload`; upgrade to it (USR2)"));
    let pid = std::process::id();
    load.ok_or_else(missing)?.run(logger)?;
    sys::restore_template(pid, template.handshake.master).map_err(StartError::Template)?;
    check_threads()?;
    // An error: forks take longer.
    let _ = sys::use_huge_pages();
    // Before, what loads may open files by `/proc/self`.
    template.handshake.privileges.protect_template()?;
    sys::ignore_stop_in_template().map_err(StartError::Template)?;
    // What is in the buffers would be written by each child as well, or be lost. Nothing is added to them from now on,
    // and a template that is ready does not wait for a reader.
    let _ = io::stdout().flush();
    logging::write_held();
    // In a child it is dropped first: the links of other children may wait in it.
    let mut channel = template.channel;
    let broken = |source| Error::Handshake { source };
    channel.set_blocking().map_err(broken)?;
    let sender = channel.sender().map_err(broken)?;
    sender.send(ToMaster::Ready.to_line()).map_err(broken)?;
    loop {
        let line = match channel.wait_for_line() {
            Ok(line) => line,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => end(),
            // Without a number for the descriptor that comes with it, for example.
            Err(error) => return Err(broken(error).into()),
        };
        let Some(ToTemplate::Fork(child)) = ToTemplate::from_line(&line) else { continue };
        let link = channel.take_end().map_err(broken)?;
        let answer = match once_alone(sys::fork_for_parent) {
            Ok(Forked::Child) => {
                drop((channel, sender));
                return begin_child(link);
            }
            Ok(Forked::Template(pid)) => FromTemplate::Forked { child, pid },
            Err(NotForked::System(error)) => FromTemplate::NotForked { child, error },
            Err(NotForked::Threads(names)) => return Err(has_threads(names)),
        };
        // The master learns of the child's end by its link, so no other process keeps it open.
        drop(link);
        if sender.send(&answer.to_line()).is_err() {
            end();
        }
    }
}

fn begin_child(link: Channel) -> Result<Adopted, StartError> {
    logging::start_anew();
    Ok(adopt_forked(link)?)
}

/// The master is dead, or needs this template no more. What was loaded is not dropped: children may use files of it.
fn end() -> ! {
    logging::flush();
    sys::exit_now(0)
}

/// Does what needs one thread. One that has been joined may still be seen for a moment.
fn once_alone<T>(work: impl Fn() -> Result<T, NotForked>) -> Result<T, NotForked> {
    let start = Instant::now();
    loop {
        match work() {
            Err(NotForked::Threads(Ok(_))) if start.elapsed() < THREAD_END => {
                thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

fn check_threads() -> Result<(), StartError> {
    let checked = once_alone(|| sys::check_only_thread().map_err(NotForked::Threads));
    checked.map_err(|refused| match refused {
        NotForked::Threads(names) => has_threads(names),
        NotForked::System(error) => StartError::Template(io::Error::from_raw_os_error(error)),
    })
}

fn has_threads(names: io::Result<Vec<String>>) -> StartError {
    StartError::Template(io::Error::other(describe(names)))
}

fn describe(names: io::Result<Vec<String>>) -> String {
    let names = match names {
        Ok(names) => names,
        Err(error) => {
            let error = plain(&error);
            return format!("/proc does not tell whether it has one thread, and a fork copies one: {error}");
        }
    };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "it has threads besides the main one ({}), and a fork copies one: start them in the serve function or in an \
         argument of it, not in `init` or in what `preload` calls",
        names.join(", ")
    )
}
