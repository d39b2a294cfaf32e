//! Where the runtime's own messages go, and what they carry.
//!
//! Each message is a line for people and an event for programs: it has a name, and fields that say which
//! child it is about. The guide lists them all, in `docs/logging.md`.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use log::kv::Value;
use log::{Level, LevelFilter, Log, MetadataBuilder, Record};

/// The target of every record, for filters.
const TARGET: &str = "prefork";

/// The destination of messages: the user's logger; else, with the feature `tracing`, the subscriber, if
/// there is one; else the installed `log` logger; else standard error. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Logger {
    own: Option<Arc<dyn Log>>,
}

impl Logger {
    pub(crate) fn new(logger: impl Log + 'static) -> Self {
        Self { own: Some(Arc::new(logger)) }
    }

    /// Begins a message. In a child it is about that child.
    pub(crate) fn event(&self, name: &'static str) -> LogEvent<'_> {
        let ThisProcess(child) = this_process();
        let event = LogEvent { logger: self, name, slot: None, pid: None, generation: None };
        match child {
            Some((slot, generation)) => event.child(slot, std::process::id()).generation(generation),
            None => event,
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("own", &self.own.is_some()).finish()
    }
}

/// A message without its text.
#[derive(Debug)]
#[must_use = "a message is logged when it has a text"]
pub(crate) struct LogEvent<'a> {
    logger: &'a Logger,
    name: &'static str,
    slot: Option<usize>,
    pid: Option<u32>,
    generation: Option<u32>,
}

impl LogEvent<'_> {
    pub(crate) fn slot(self, slot: usize) -> Self {
        Self { slot: Some(slot), ..self }
    }

    pub(crate) fn child(self, slot: usize, pid: u32) -> Self {
        Self { slot: Some(slot), pid: Some(pid), ..self }
    }

    pub(crate) fn generation(self, generation: u32) -> Self {
        Self { generation: Some(generation), ..self }
    }

    pub(crate) fn debug(self, text: impl fmt::Display) {
        self.log_at(Level::Debug, format_args!("{text}"));
    }

    pub(crate) fn info(self, text: impl fmt::Display) {
        self.log_at(Level::Info, format_args!("{text}"));
    }

    pub(crate) fn warn(self, text: impl fmt::Display) {
        self.log_at(Level::Warn, format_args!("{text}"));
    }

    pub(crate) fn error(self, text: impl fmt::Display) {
        self.log_at(Level::Error, format_args!("{text}"));
    }

    fn log_at(self, level: Level, text: fmt::Arguments<'_>) {
        if let Some(own) = &self.logger.own {
            return self.log_with(&**own, level, text);
        }
        #[cfg(feature = "tracing")]
        if tracing::dispatcher::has_been_set() {
            return self.trace(level, text);
        }
        if !is_installed() {
            if level <= Level::Info {
                to_stderr(format_args!("prefork: {text}"));
            }
        } else if level <= log::max_level() {
            self.log_with(log::logger(), level, text);
        }
    }

    fn log_with(&self, logger: &dyn Log, level: Level, text: fmt::Arguments<'_>) {
        let mut fields = vec![("event", Value::from(self.name))];
        fields.extend(self.slot.map(|slot| ("slot", Value::from(slot))));
        fields.extend(self.pid.map(|pid| ("pid", Value::from(pid))));
        fields.extend(self.generation.map(|generation| ("generation", Value::from(generation))));
        let record = Record::builder().level(level).target(TARGET).args(text).key_values(&fields).build();
        if logger.enabled(record.metadata()) {
            logger.log(&record);
        }
    }

    #[cfg(feature = "tracing")]
    fn trace(&self, level: Level, text: fmt::Arguments<'_>) {
        let Self { logger: _, name, slot, pid, generation } = *self;
        // The level and the place of an event must be constants.
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
        match level {
            Level::Error => event!(ERROR),
            Level::Warn => event!(WARN),
            Level::Info => event!(INFO),
            Level::Debug | Level::Trace => event!(DEBUG),
        }
    }
}

/// Which process of its fleet this one is. It displays as `master` or as `child 3`.
///
/// In a logger's format, it shows the process of every record; here with env_logger:
///
/// ```ignore
/// fn init() {
///     env_logger::builder()
///         .format(|out, record| writeln!(out, "[{}] {} {}", prefork::this_process(), record.level(), record.args()))
///         .init();
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThisProcess(Option<(usize, u32)>);

impl ThisProcess {
    /// The slot, in a child.
    #[must_use]
    pub fn slot(&self) -> Option<usize> {
        self.0.map(|(slot, _)| slot)
    }

    /// How often the fleet had been reloaded when this child was started.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        self.0.map(|(_, generation)| generation)
    }
}

impl fmt::Display for ThisProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((slot, _)) => write!(f, "child {slot}"),
            None => f.write_str("master"),
        }
    }
}

/// Slot and generation, in a child.
static CHILD: OnceLock<(usize, u32)> = OnceLock::new();

/// Which process of its fleet this one is. With the attribute it is known in `init` already; with the
/// builder, a child knows it from `listen_and_serve` on.
#[must_use]
pub fn this_process() -> ThisProcess {
    ThisProcess(CHILD.get().copied())
}

/// Notes that this process is a child.
pub(crate) fn note_child(slot: usize, generation: u32) {
    // A process is one child, and becomes it once.
    let _ = CHILD.set((slot, generation));
}

/// Whether the program has installed a logger. `log` has no such function, but without a logger the level is
/// off and not even an error is enabled. A logger that lets nothing through looks the same.
fn is_installed() -> bool {
    let metadata = MetadataBuilder::new().level(Level::Error).target(TARGET).build();
    log::max_level() != LevelFilter::Off || log::logger().enabled(&metadata)
}

/// Writes a line in one call, so that the lines of several processes do not mix. Errors are ignored: a
/// closed standard error is no reason to stop serving.
pub(crate) fn to_stderr(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

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
