//! Loggers of the server programs.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

/// The fields of a record, each as ` name=value`.
struct Fields(String);

impl Fields {
    fn of(record: &log::Record<'_>) -> Self {
        let mut fields = Self(String::new());
        record.key_values().visit(&mut fields).expect("the visitor never fails");
        fields
    }
}

impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        self.0 += &format!(" {key}={value}");
        Ok(())
    }
}

impl std::fmt::Display for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A logger whose destination is gone.
#[derive(Debug)]
pub(super) struct PanickingLogger;

impl log::Log for PanickingLogger {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _record: &log::Record<'_>) {
        panic!("the log's destination is gone");
    }

    fn flush(&self) {}
}

/// A logger that writes to a file.
#[derive(Debug)]
pub struct FileLogger(Mutex<fs::File>);

impl FileLogger {
    /// A logger that appends to the file at `path`.
    pub fn append(path: impl Into<PathBuf>) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path.into());
        Self(Mutex::new(file.expect("the log file can be opened")))
    }
}

impl log::Log for FileLogger {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let fields = Fields::of(record);
        let line = format!("{} {}: {}{fields}\n", record.level(), record.target(), record.args());
        let mut file = self.0.lock().expect("no panic under the lock");
        file.write_all(line.as_bytes()).expect("the log file can be written to");
    }

    fn flush(&self) {}
}
