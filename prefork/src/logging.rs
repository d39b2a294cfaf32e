//! Where the runtime's own messages go.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use log::{Level, LevelFilter, Log, MetadataBuilder, Record};

/// The target of every record, for filters.
const TARGET: &str = "prefork";

/// The user's logger, or the installed one, or standard error. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Logger {
    own: Option<Arc<dyn Log>>,
}

impl Logger {
    pub(crate) fn new(logger: impl Log + 'static) -> Self {
        Self { own: Some(Arc::new(logger)) }
    }

    pub(crate) fn debug(&self, message: impl fmt::Display) {
        self.write(Level::Debug, format_args!("{message}"));
    }

    pub(crate) fn info(&self, message: impl fmt::Display) {
        self.write(Level::Info, format_args!("{message}"));
    }

    pub(crate) fn warn(&self, message: impl fmt::Display) {
        self.write(Level::Warn, format_args!("{message}"));
    }

    pub(crate) fn error(&self, message: impl fmt::Display) {
        self.write(Level::Error, format_args!("{message}"));
    }

    fn write(&self, level: Level, message: fmt::Arguments<'_>) {
        let record = Record::builder().level(level).target(TARGET).args(message).build();
        match &self.own {
            Some(own) => log_with(&**own, &record),
            None if is_installed() && level <= log::max_level() => log_with(log::logger(), &record),
            None if !is_installed() && level <= Level::Info => to_stderr(format_args!("prefork: {message}")),
            None => {}
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("own", &self.own.is_some()).finish()
    }
}

fn log_with(logger: &dyn Log, record: &Record<'_>) {
    if logger.enabled(record.metadata()) {
        logger.log(record);
    }
}

/// Whether the program has set a logger. `log` does not tell; but without one the level is off and
/// not even an error is enabled. A logger that lets nothing at all through looks the same.
fn is_installed() -> bool {
    let metadata = MetadataBuilder::new().level(Level::Error).target(TARGET).build();
    log::max_level() != LevelFilter::Off || log::logger().enabled(&metadata)
}

/// Writes one line, all at once, so that the lines of several processes do not mix. A standard error
/// that cannot be written to is no reason to stop serving.
pub(crate) fn to_stderr(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
