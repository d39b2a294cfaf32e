//! A server program and its options, before the start.

use std::env;
use std::fmt::Display;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::{Outcome, RunningFleet};
use crate::console::Console;
use crate::gate::ResponseGate;
use crate::proc::ProcessTree;
#[cfg(unix)]
use crate::signal;

/// A wrapper for [`Server::through`] that runs the program as the user 65534, without capabilities.
pub const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// With this variable, the tests run with servers whose children are forked by a template.
const PRELOAD: &str = "PREFORK_TEST_PRELOAD";

/// Whether servers have templates that fork their children.
pub fn preloads() -> bool {
    env::var_os(PRELOAD).is_some()
}

/// A server program and its options, before the start.
#[derive(Debug)]
pub struct Server {
    /// The command, for settings that have no method here.
    pub command: Command,
    tree: ProcessTree,
    /// Each child that reaches `main` creates a file here.
    started: TempDir,
}

impl Server {
    /// The program `executable`, on a port of 127.0.0.1 that the system chooses, with two children.
    pub fn new(executable: impl AsRef<Path>) -> Self {
        Self::with_command(Command::new(executable.as_ref()))
    }

    /// The example `name`, on a port of 127.0.0.1 that the system chooses, with two children.
    pub fn example(name: &str) -> Self {
        // Cargo puts a test into `target/PROFILE/deps` and the examples into `target/PROFILE/examples`.
        let test = env::current_exe().expect("the test's own path");
        let target = test.parent().and_then(Path::parent).expect("the target directory");
        let path = target.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
        let hint = "run `cargo build -p prefork-examples --examples`";
        assert!(path.exists(), "{} does not exist: {hint}", path.display());
        let server = Self::new(path).env("PREFORK_ADDR", "127.0.0.1:0").env("PREFORK_WORKERS", "2");
        // On a busy machine wine takes seconds to list the open connections.
        if cfg!(windows) { server.env("PREFORK_SHUTDOWN_GRACE", "20s") } else { server }
    }

    /// A program that is started by a wrapper, which executes its last arguments.
    pub fn through(wrapper: &[&str], executable: impl AsRef<Path>) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(executable.as_ref());
        Self::with_command(command)
    }

    /// A program that is started by the shell; `script` ends with `exec "$0"`.
    pub fn in_shell(script: &str, executable: impl AsRef<Path>) -> Self {
        Self::through(&["sh", "-c", script], executable)
    }

    fn with_command(mut command: Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        #[cfg(unix)]
        signal::heed_hangups();
        let id = format!("{}.{}", process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let started = tempfile::tempdir().expect("a temporary directory");
        // Variables that a developer has set for other servers must not reach this one.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PREFORK_")) {
            command.env_remove(name);
        }
        command
            .env("TEST_STARTED", started.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let tree = ProcessTree::prepare(&mut command, &id);
        let mut server = Self { command, tree, started };
        if preloads() {
            server = server.set("preload", 1);
        }
        server.set("addr", "127.0.0.1:0").set("workers", 2)
    }

    /// Sets an option of the program; [`app`](crate::app) lists them.
    #[must_use]
    pub fn set(mut self, option: &str, value: impl Display) -> Self {
        self.command.env(format!("TEST_{}", option.to_uppercase()), value.to_string());
        self
    }

    /// Removes an option of the program, so that its default applies.
    #[must_use]
    pub fn unset(mut self, option: &str) -> Self {
        self.command.env_remove(format!("TEST_{}", option.to_uppercase()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the option `reuseport`, or leaves the default of the platform.
    #[must_use]
    pub fn reuseport(self, wanted: bool) -> Self {
        if wanted { self.set("reuseport", "yes") } else { self }
    }

    /// Holds back the answers to `/gate` until `gate` opens. Children have a minute to drain.
    #[must_use]
    pub fn gate(self, gate: &ResponseGate) -> Self {
        self.set("gate", gate.path().display()).set("shutdown_grace", "1m")
    }

    /// Starts the server and returns at once.
    pub fn launch(self) -> RunningFleet {
        let Self { mut command, tree, started } = self;
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        tree.add_root(&child);
        let console = Console::read(child.stderr.take().expect("standard error is a pipe"));
        RunningFleet { child, console, tree, started }
    }

    /// Starts the server and waits until all its children are ready.
    pub fn start(self) -> RunningFleet {
        let fleet = self.launch();
        fleet.console.wait_for("ready (pids");
        fleet
    }

    /// Starts a server that is expected to end by itself, and waits for its end.
    pub fn run(self) -> Outcome {
        self.launch().expect_end()
    }
}
