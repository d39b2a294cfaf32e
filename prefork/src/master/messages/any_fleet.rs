//! Messages about a fleet, with children or without.

use std::time::Duration;

pub(crate) use super::readable;
use crate::error::chain;
use crate::hooks::HookFailure;
use crate::logging::Logger;
use crate::supervisor::{Event, NotHeld, Request};

pub(crate) fn report_hook_failed(logger: &Logger, hook: &str, failure: &HookFailure) {
    logger.event("hook_failed").error(match failure {
        HookFailure::Error(error) => format!("hook {hook} failed: {}; stopping", chain(&**error)),
        HookFailure::Panic(_) => format!("hook {hook} panicked; stopping"),
    });
}

pub(crate) fn report_no_log_hook(logger: &Logger) {
    let event = logger.event("logs_reopened");
    event.info("the request to reopen logs has no effect: there is no hook on_log_reopen");
}

/// Reports why a reload or an upgrade is refused.
pub(crate) fn report_refused(logger: &Logger, reasons: &[String]) {
    for reason in reasons {
        logger.event("cannot_replace").error(reason);
    }
}

pub(crate) fn report_terminal(logger: &Logger, signal: &str) {
    logger.event("terminal_ignored").warn(format_args!(
        "{signal} is ignored from now on, also as a request: the terminal sent it, because a thread of the \
         program uses the terminal in its background"
    ));
}

pub(crate) fn report_stop_delay(logger: &Logger, delay: Duration) {
    logger.event("stop_delayed").info(format_args!(
        "stopping in {}: accepting until then; ask again to stop at once",
        readable(delay)
    ));
}

pub(crate) fn report_queue_left(logger: &Logger) {
    logger.event("queue_left").warn("closing with connections still queued; they are reset");
}

pub(crate) fn report_stopped(logger: &Logger) {
    logger.event("stopped").info("stopped");
}

pub(crate) fn report_nothing_held(logger: &Logger, request: Request, reason: NotHeld) {
    logger.event("nothing_held").warn(nothing_held(request, reason));
}

/// Why a promotion or a rollback has no effect, in the log and in the answer.
pub(crate) fn nothing_held(request: Request, reason: NotHeld) -> String {
    let purpose = if request == Request::Promote { "promote" } else { "roll back" };
    let reason = match reason {
        NotHeld::NoCanary => "no reload holds",
        NotHeld::PlainReload => "a reload of every child is under way in place of the one that held",
        NotHeld::Upgrade => {
            "an upgrade is under way: it replaces every child, and if it fails, the reload holds again"
        }
    };
    format!("nothing to {purpose}: {reason}")
}

pub(crate) fn report_unexpected(logger: &Logger, event: &Event) {
    logger.event("bug").error(format_args!("a bug in prefork: unexpected {event:?}"));
}
