//! What is compared: the program's own servers, and servers that are installed.

mod fasthttp;
mod hyper;
mod nginx;
mod python;
mod running;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

pub(crate) use self::running::Running;
use super::BenchResult;

pub(crate) const CERTIFICATE: &[u8] = include_bytes!("../../../../../examples/certs/cert.pem");
const KEY: &[u8] = include_bytes!("../../../../../examples/certs/key.pem");

/// The contender that all others are compared with.
pub(crate) const FLOOR: &str = "hyper, forked by hand";
pub(crate) const SPAWNED: &str = "hyper, spawned by hand";
pub(crate) const SHARED: &str = "prefork, shared socket";
pub(crate) const FAIR: &str = "prefork, shared socket, fair share";
pub(crate) const REUSEPORT: &str = "prefork, reuseport";
pub(crate) const PRELOAD: &str = "prefork, preload";

/// What a contender is to serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) workers: usize,
    pub(crate) tls: bool,
    /// Connections that may come to one worker, where their number costs memory.
    pub(crate) connections: usize,
}

/// How a contender is started.
pub(crate) struct Setup<'a> {
    pub(crate) addr: SocketAddr,
    pub(crate) size: Size,
    /// A directory of this start.
    pub(crate) directory: &'a Path,
    pub(crate) files: &'a Files,
}

/// The certificate and its key, for every contender.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new() -> BenchResult<Self> {
        let files = Self { directory: tempfile::tempdir()? };
        fs::write(files.cert(), CERTIFICATE)?;
        fs::write(files.key(), KEY)?;
        Ok(files)
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}

/// What a contender can do, and how it is told to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// Its children print a line when they serve.
    pub(crate) tells: bool,
    pub(crate) has_workers: bool,
    pub(crate) tls: bool,
    /// It keeps as many connections as there are descriptors.
    pub(crate) many_connections: bool,
    pub(crate) reload: Option<Signal>,
    pub(crate) upgrade: Option<Signal>,
    /// A graceful stop.
    pub(crate) stop: Option<Signal>,
}

/// Writes what the contender needs into the directory of its start.
type MakeCommand = dyn Fn(&Setup<'_>) -> BenchResult<Command>;

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) abilities: Abilities,
    command: Box<MakeCommand>,
}

impl Contender {
    pub(crate) fn start(&self, files: &Files, size: Size) -> BenchResult<Running> {
        Running::start(self, files, size)
    }
}

/// Every contender that this machine has, and a line for each one that it lacks.
pub(crate) fn all() -> (Vec<Contender>, Vec<String>) {
    let mut found = hyper::all();
    let mut skipped = Vec::new();
    for result in [nginx::all(), fasthttp::all(), python::gunicorn(), python::uvicorn(), python::granian()] {
        match result {
            Ok(contenders) => found.extend(contenders),
            Err(reason) => skipped.push(reason.to_string()),
        }
    }
    (found, skipped)
}
