//! Messages about a fleet, with children or without.

use std::time::Duration;

pub(crate) use super::readable;
use crate::error::chain;
use crate::hooks::HookFailure;
use crate::logging::Logger;
use crate::supervisor::{Event, Request};

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

pub(crate) fn report_nothing_held(logger: &Logger, request: Request) {
    let purpose = if request == Request::Promote { "promote" } else { "roll back" };
    logger.event("nothing_held").warn(format_args!("nothing to {purpose}: no reload holds"));
}

pub(crate) fn report_unexpected(logger: &Logger, event: &Event) {
    logger.event("bug").error(format_args!("a bug in prefork: unexpected {event:?}"));
}
