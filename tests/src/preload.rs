//! A fleet whose children are forked by a template.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::fleet::{RunningFleet, Server};
use crate::{client, proc, wait};

/// A server, a file with the pids of the processes that have loaded, and one with options that can change.
#[derive(Debug)]
pub struct Loads {
    program: &'static str,
    directory: TempDir,
}

impl Loads {
    /// Of this program, in an empty directory.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        let loads = Self { program, directory: tempfile::tempdir().unwrap() };
        fs::write(loads.next(), "").unwrap();
        loads
    }

    /// The program as a server.
    #[must_use]
    pub fn server(&self) -> Server {
        self.of(Server::new(self.program))
    }

    /// The same options for another server.
    #[must_use]
    pub fn of(&self, server: Server) -> Server {
        let path = self.path().join("loads");
        server.set("loads", path.display()).set("next", self.next().display())
    }

    /// The directory, which is empty but for both files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn next(&self) -> PathBuf {
        self.path().join("next")
    }

    /// From now on the server's option `load` has this value.
    pub fn change(&self, load: &str) {
        fs::write(self.next(), format!("load={load}\n")).unwrap();
    }

    /// The processes that have loaded, in their order.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.path().join("loads")).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

/// The template that the console has named last, and that lives.
#[must_use]
pub fn template(fleet: &RunningFleet) -> u32 {
    wait::for_value_or(
        || format!("a template; {:#?}", fleet.console.lines()),
        || {
            let lines = fleet.console.lines();
            let ready =
                lines.iter().rfind(|line| line.contains("template of") && line.contains(" is ready"))?;
            let (_, rest) = ready.split_once("(pid ")?;
            let pid = rest.split_once(')')?.0.parse().ok()?;
            proc::is_alive(pid).then_some(pid)
        },
    )
}

/// The text of an answer. If there is none, the panic shows what the server has logged.
#[allow(clippy::must_use_candidate, reason = "the panic is enough for some tests")]
pub fn get(fleet: &RunningFleet, path: &str) -> String {
    client::try_get(fleet.addr(), path)
        .unwrap_or_else(|error| panic!("{error}; {:#?}", fleet.console.lines()))
}
