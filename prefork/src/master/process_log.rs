//! What a process of the master's logs, as its link tells it.

use log::Level;

use crate::logging::{LoggedEvent, tell_followers};
use crate::protocol::{LogMessage, LogPart, LogParts};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct ProcessLog {
    /// What has come of a message.
    parts: LogParts,
    /// The last error that was to be kept: why the process ends, in its own words.
    pub(super) last_error: Option<String>,
}

impl ProcessLog {
    /// Notes a line that is a part of what a process logs: its slot, unless it is a template, its pid and its
    /// generation. It has logged that itself: only those who follow the log are told. Returns whether the line is one.
    pub(super) fn note(
        &mut self,
        line: &str,
        process: (Option<usize>, u32, u32),
        keeps_errors: bool,
    ) -> bool {
        match self.parts.add(line) {
            LogPart::Other => return false,
            LogPart::Part => {}
            LogPart::Whole(LogMessage { level, event, text }) => {
                if keeps_errors && level == Level::Error {
                    self.last_error = Some(text.clone());
                }
                tell_followers(|| LoggedEvent::of_process(process, level, event, text));
            }
        }
        true
    }
}
