//! A file in which the children of a fleet record the connections that they accept, by the client's port.
//!
//! It tells a client, whatever happened to its connection, which child had it and how far that child came.
//! A child that is killed between `accept` and its record leaves none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process;

use nix::time::{ClockId, clock_gettime};

/// The size of a record: time, pid, stage.
const RECORD: usize = 16;

/// How far a child has come with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "tests match on it")]
pub enum Stage {
    /// It has accepted the connection.
    Accepted = 1,
    /// It has read a request.
    Read = 2,
    /// It has written the answer.
    Answered = 3,
    /// It has closed the connection on its own account, without a request.
    Closed = 4,
}

/// What was recorded last of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The child that accepted it.
    pub pid: u32,
    /// How far it came.
    pub stage: Stage,
    /// The time, as [`now`] tells it.
    pub at: u64,
}

/// Nanoseconds of the clock that all processes share.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock exists");
    let part = |part: i64| u64::try_from(part).expect("a time after the start of the machine");
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
}

/// See the [module](self).
#[derive(Debug)]
pub struct AcceptLog(File);

impl AcceptLog {
    /// Opens the file; creates it if there is none.
    ///
    /// # Errors
    ///
    /// Errors of opening.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        options.open(path).map(Self)
    }

    /// Records how far this process has come with the connection from `port`.
    pub fn record(&self, port: u16, stage: Stage) {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&now().to_ne_bytes());
        bytes[8..12].copy_from_slice(&process::id().to_ne_bytes());
        bytes[12..].copy_from_slice(&(stage as u32).to_ne_bytes());
        // A lost record makes a failure unexplained, which is noticed.
        let _ = self.0.write_all_at(&bytes, offset(port));
    }

    /// The last record of the connection from `port` that was opened at the time `since` or later.
    pub fn last(&self, port: u16, since: u64) -> Option<Accepted> {
        let mut bytes = [0; RECORD];
        self.0.read_exact_at(&mut bytes, offset(port)).ok()?;
        let at = u64::from_ne_bytes(bytes[..8].try_into().ok()?);
        let pid = u32::from_ne_bytes(bytes[8..12].try_into().ok()?);
        let stages = [Stage::Accepted, Stage::Read, Stage::Answered, Stage::Closed];
        let stage = u32::from_ne_bytes(bytes[12..].try_into().ok()?);
        let stage = stages.into_iter().find(|one| *one as u32 == stage)?;
        (at >= since).then_some(Accepted { pid, stage, at })
    }
}

fn offset(port: u16) -> u64 {
    u64::from(port) * RECORD as u64
}
