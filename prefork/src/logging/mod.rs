//! The runtime's own messages.
//!
//! Each message is a line of text and an event with a name and, where it concerns a child, the child's slot
//! and pid. The guide lists all of them, in `docs/logging.md`.
//!
//! - `mod.rs`: messages and their destinations
//! - `queue.rs`: the queue between the code that logs and the thread that writes
//! - `tap.rs`: who follows the log beside the logger
//! - `this_process.rs`: which process this is, for messages and for the user's own logger

mod queue;
mod tap;
mod this_process;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use log::kv::Value;
use log::{Level, LevelFilter, Log, Metadata, MetadataBuilder, Record};

pub(crate) use queue::{HeldMessages, dropped, flush, flush_at_failed_start, start_anew, write_held};
pub(crate) use tap::{Follower, LoggedEvent, Origin, relay, tell_followers};
pub use this_process::{ThisProcess, this_process};
pub(crate) use this_process::{note_child, note_template};

use crate::sys;

/// The target of every record, for filters.
const TARGET: &str = "prefork";

/// The user's logger; or with the feature `tracing` the subscriber, if there is one; or the installed
/// logger; or standard error. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Logger {
    own: Option<Arc<dyn Log>>,
}

impl Logger {
    pub(crate) fn new(logger: impl Log + 'static) -> Self {
        Self { own: Some(Arc::new(logger)) }
    }

    /// For a check of the configuration: warnings, on standard error, whatever logger the program has.
    pub(crate) fn for_check() -> Self {
        Self::new(Warnings)
    }

    /// Begins a message. In a child it is about that child.
    pub(crate) fn event(&self, name: &'static str) -> LogEvent<'_> {
        let subject = Subject { name, slot: None, pid: None, generation: None };
        let event = LogEvent { logger: self, subject, is_printed: false };
        let this = this_process();
        match (this.slot(), this.generation()) {
            (Some(slot), Some(generation)) => event.child(slot, std::process::id()).generation(generation),
            _ => event,
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("own", &self.own.is_some()).finish()
    }
}

/// The child or the template that a message concerns.
#[derive(Debug, Clone, Copy)]
struct Subject {
    name: &'static str,
    slot: Option<usize>,
    pid: Option<u32>,
    generation: Option<u32>,
}

/// A message without its text.
#[derive(Debug)]
#[must_use = "a message is sent when it has a text"]
pub(crate) struct LogEvent<'a> {
    logger: &'a Logger,
    subject: Subject,
    is_printed: bool,
}

impl LogEvent<'_> {
    pub(crate) fn slot(self, slot: usize) -> Self {
        Self { subject: Subject { slot: Some(slot), ..self.subject }, ..self }
    }

    pub(crate) fn child(self, slot: usize, pid: u32) -> Self {
        Self { subject: Subject { slot: Some(slot), pid: Some(pid), ..self.subject }, ..self }
    }

    /// Of a process that fills no slot.
    pub(crate) fn pid(self, pid: u32) -> Self {
        Self { subject: Subject { pid: Some(pid), ..self.subject }, ..self }
    }

    pub(crate) fn generation(self, generation: u32) -> Self {
        Self { subject: Subject { generation: Some(generation), ..self.subject }, ..self }
    }

    /// The standard library has printed it to standard error: there it is not repeated.
    pub(crate) fn printed(self) -> Self {
        Self { is_printed: true, ..self }
    }

    pub(crate) fn debug(self, text: impl fmt::Display) {
        queue::push(self.message(Level::Debug, &text));
    }

    pub(crate) fn info(self, text: impl fmt::Display) {
        queue::push(self.message(Level::Info, &text));
    }

    pub(crate) fn warn(self, text: impl fmt::Display) {
        queue::push(self.message(Level::Warn, &text));
    }

    pub(crate) fn error(self, text: impl fmt::Display) {
        queue::push(self.message(Level::Error, &text));
    }

    fn message(self, level: Level, text: &dyn fmt::Display) -> Message {
        let text = one_line(text.to_string());
        let Self { logger, subject, is_printed } = self;
        Message { logger: logger.clone(), subject, is_printed, level, text }
    }
}

/// The text on one line: paths, values of variables and errors of user code may contain anything. A line break would
/// be another message, with a level of its own in the journal, and a terminal obeys other control characters.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_debug());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A complete message, which owns its text.
struct Message {
    logger: Logger,
    subject: Subject,
    /// Whether it is on standard error already, in other words.
    is_printed: bool,
    level: Level,
    text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Message {
    /// Hands the message to its logger, which may block.
    fn write(&self) {
        if let Some(own) = &self.logger.own {
            return self.log_with(&**own);
        }
        #[cfg(feature = "tracing")]
        if tracing::dispatcher::has_been_set() {
            return self.trace();
        }
        if !is_installed() {
            if self.level <= Level::Info && !self.is_printed {
                write_to_stderr(self.level, &self.text);
            }
        } else if self.level <= log::max_level() {
            self.log_with(log::logger());
        }
    }

    fn log_with(&self, logger: &dyn Log) {
        let Subject { name, slot, pid, generation } = self.subject;
        let mut fields = vec![("event", Value::from(name))];
        fields.extend(slot.map(|slot| ("slot", Value::from(slot))));
        fields.extend(pid.map(|pid| ("pid", Value::from(pid))));
        fields.extend(generation.map(|generation| ("generation", Value::from(generation))));
        let metadata = Metadata::builder().level(self.level).target(TARGET).build();
        if logger.enabled(&metadata) {
            let mut record = Record::builder();
            record.metadata(metadata).key_values(&fields);
            logger.log(&record.args(format_args!("{}", self.text)).build());
        }
    }

    #[cfg(feature = "tracing")]
    fn trace(&self) {
        let Subject { name, slot, pid, generation } = self.subject;
        let text = &self.text;
        // `tracing` needs the level and the place of an event at compile time.
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: TARGET,
                    tracing::Level::$level,
                    event = name,
                    slot,
                    pid,
                    generation,
                    "{text}"
                )
            };
        }
        match self.level {
            Level::Error => event!(ERROR),
            Level::Warn => event!(WARN),
            Level::Info => event!(INFO),
            Level::Debug | Level::Trace => event!(DEBUG),
        }
    }
}

/// Whether the program has installed a logger. `log` does not tell; but without a logger the level is off
/// and no error is enabled. A logger that disables every record cannot be distinguished from none.
fn is_installed() -> bool {
    let metadata = MetadataBuilder::new().level(Level::Error).target(TARGET).build();
    log::max_level() != LevelFilter::Off || log::logger().enabled(&metadata)
}

/// Writes one line in one call, so that the lines of several processes do not mix. Errors are ignored:
/// serving does not depend on standard error.
fn write_to_stderr(level: Level, text: &str) {
    let priority = if sys::stderr_is_journal() { priority(level) } else { "" };
    let _ = io::stderr().write_all(format!("{priority}prefork: {text}\n").as_bytes());
}

/// The prefix by which the journal knows the level of a line (`sd-daemon(3)`).
fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// Writes to standard error only: for an error that ends a process before its logger is known.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        write_to_stderr(record.level(), &record.args().to_string());
    }

    fn flush(&self) {}
}

/// Writes warnings to standard error.
struct Warnings;

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        write_to_stderr(record.level(), &format!("warning: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Writes a problem of the configuration to standard error.
pub(crate) fn report_problem(problem: &dyn fmt::Display) {
    write_to_stderr(Level::Error, &format!("error: {problem}"));
}

/// Writes the error that ends this process to standard error, and waits for that as for any last
/// message.
pub(crate) fn report_end(error: fmt::Arguments<'_>) {
    Logger::new(Stderr).event("end").error(format_args!("error: {error}"));
    flush();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::one_line;

    #[test]
    fn message_is_one_line_without_control_characters() {
        assert_eq!(one_line("`a` – \"b\"".to_owned()), "`a` – \"b\"");
        assert_eq!(one_line("a\n<0>b\u{1b}[31m\u{85}".to_owned()), r"a\n<0>b\u{1b}[31m\u{85}");
    }

    /// The names of events in the sources, each with a file that logs it.
    fn logged(directory: &Path, names: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                logged(&path, names);
            } else {
                let source = fs::read_to_string(&path).unwrap();
                let calls = source.split(".event(\"").skip(1).filter_map(|rest| rest.split_once('"'));
                names.extend(calls.map(|(name, _)| (name.to_owned(), path.display().to_string())));
            }
        }
    }

    /// The guide's table has a row for each event, and no other. To fix a failure, edit the table.
    #[test]
    fn guide_lists_every_event() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut names = BTreeMap::new();
        logged(&root.join("src"), &mut names);
        names.remove("…");
        let guide = fs::read_to_string(root.join("docs/logging.md")).unwrap();
        let (_, section) = guide.split_once("\n## Log lines\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0));
        let rows: Vec<&str> = rows.collect();
        let missing = names.iter().filter(|(name, _)| !rows.contains(&name.as_str()));
        let missing = missing.map(|(name, file)| format!("add a row for `{name}`, which {file} logs\n"));
        let stale = rows.iter().filter(|name| !names.contains_key(**name));
        let stale = stale.map(|name| format!("remove the row of `{name}`, which no source logs\n"));
        let problems: String = missing.chain(stale).collect();
        assert!(problems.is_empty(), "the table in prefork/docs/logging.md is stale:\n{problems}");
    }
}
