//! Reads the standard error of a fleet into the journal, unless it is stalled.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ChildStderr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use crate::journal::Journal;

/// A line that fills the pipe.
const FILLER: &str = "a line that fills the pipe";

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Log {
    /// The other end of the pipe, which does not block.
    writer: File,
    lines: Arc<Mutex<Vec<String>>>,
    stalled: Arc<AtomicBool>,
}

impl Log {
    pub(crate) fn read(source: ChildStderr, journal: Arc<Journal>) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", source.as_raw_fd());
        let writer = File::options().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        let log = Self { writer, lines: Arc::default(), stalled: Arc::default() };
        let (lines, stalled) = (Arc::clone(&log.lines), Arc::clone(&log.stalled));
        thread::spawn(move || {
            // A small buffer: what is not read stays in the pipe.
            let mut reader = BufReader::with_capacity(512, source);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                if !line.ends_with(FILLER) {
                    journal.note(format!("log: {line}"));
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
                bytes.clear();
                while stalled.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Ok(log)
    }

    /// Reads no more, and fills the pipe; or goes on reading.
    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
        // The reader may take one line, and the buffer of lines, after this.
        while stalled && (&self.writer).write_all(format!("{FILLER}\n").as_bytes()).is_ok() {}
    }

    /// The number of lines so far.
    pub(crate) fn len(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The lines from `first` on.
    pub(crate) fn since(&self, first: usize) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)[first..].to_vec()
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.since(0).iter().any(|line| line.contains(text))
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> bool {
        let start = Instant::now();
        while !self.says(text) {
            if start.elapsed() > limit {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}
