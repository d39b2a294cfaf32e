//! The fleet under test: its start, its processes, and the end of all of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use prefork_tests::proc::{self, ProcessTree};
use prefork_tests::program::ProgramCopy;
use prefork_tests::signal::{Signal, try_send};
use prefork_tests::tls::TestCertificate;

use crate::cgroup::ProcessLimit;
use crate::journal::Journal;
use crate::log::Log;
use crate::options::Mode;

/// The time for anything that has to happen, however busy the machine is.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// More than a slow request, a stopped process or an idle client takes, and less than clients wait.
const GRACE: &str = "10s";
/// How long a template may take to load, or to fork a child.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(5);
const WORKERS: usize = 4;

/// What all fleets of a run have in common.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) mode: Mode,
    pub(crate) program: ProgramCopy,
    pub(crate) addr: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) certificate: TestCertificate,
    pub(crate) limit: Option<ProcessLimit>,
    directory: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(mode: Mode) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // The server is this program again, even if it is built anew meanwhile.
        let server = directory.path().join("server");
        fs::copy("/proc/self/exe", &server).expect("this program can be copied");
        Self {
            mode,
            program: ProgramCopy::new(server),
            addr: free_addr(),
            health: free_addr(),
            certificate: TestCertificate::new(),
            limit: ProcessLimit::new(),
            directory,
        }
    }

    pub(crate) fn accepts(&self) -> PathBuf {
        self.directory.path().join("accepts")
    }

    /// The control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// Tells the processes of the fleet how to behave.
    pub(crate) fn behave(&self, words: &str) {
        let (path, new) = (self.directory.path().join("behaviour"), self.directory.path().join("new"));
        let written = fs::write(&new, words).and_then(|()| fs::rename(new, path));
        written.expect("the directory can be written to");
    }

    /// Puts a new copy of the server in the place of the program.
    pub(crate) fn restore_program(&self) {
        self.program.replace_with(self.directory.path().join("server"));
    }

    fn command(&self, preloads: bool) -> Command {
        let mut command = Command::new(self.program.path());
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PREFORK_")) {
            command.env_remove(name);
        }
        let mut set = |option: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            command.env(format!("TEST_{option}"), value.as_ref());
        };
        set("FORM", &self.mode.form);
        set("ADDR", &self.addr.to_string());
        set("WORKERS", &WORKERS.to_string());
        set("SHUTDOWN_GRACE", &GRACE);
        set("HANG_TIMEOUT", &"2s");
        set("REUSEPORT", &if self.mode.reuseport { "1" } else { "0" });
        set("ACCEPTS", &self.accepts());
        set("BEHAVIOUR", &self.directory.path().join("behaviour"));
        if preloads {
            set("PRELOAD", &"1");
            set("START_TIMEOUT", &format!("{}s", ANSWER_TIME.as_secs()));
        }
        if self.mode.tls {
            set("CERT", &self.certificate.cert());
            set("KEY", &self.certificate.key());
        }
        command.env("PREFORK_HEALTH", self.health.to_string()).env("PREFORK_CONTROL", self.control());
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// A free address whose port the system gives no client: a fleet can take it again and again.
fn free_addr() -> SocketAddr {
    loop {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(12_000..30_000)));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// The fleets that run, for the end of this program.
static TREES: Mutex<Vec<ProcessTree>> = Mutex::new(Vec::new());

/// Kills every process of every fleet.
pub(crate) fn kill_all() {
    let start = Instant::now();
    let trees = TREES.lock().unwrap_or_else(PoisonError::into_inner);
    while start.elapsed() < BOUND {
        let left: Vec<u32> = trees.iter().flat_map(ProcessTree::live_pids).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = try_send(pid, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Fleet {
    master: Child,
    marker: ProcessTree,
    pub(crate) log: Log,
    /// Every child and template that was seen.
    pub(crate) seen: BTreeSet<u32>,
    pub(crate) preloads: bool,
    /// Whether an upgrade was requested.
    pub(crate) upgrades: bool,
    /// Templates that a fault may end, and need not.
    pub(crate) may_end: BTreeSet<u32>,
}

impl Fleet {
    /// Starts a fleet; returns once it is ready.
    pub(crate) fn start(site: &Site, journal: &Arc<Journal>, preloads: bool) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("faults.{}.{}", process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        site.behave("");
        let mut command = site.command(preloads);
        let marker = ProcessTree::prepare(&mut command, &name);
        TREES.lock().unwrap_or_else(PoisonError::into_inner).push(ProcessTree::prepare(&mut command, &name));
        let mut master = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let Some(stderr) = master.stderr.take() else { return Err("no standard error".to_owned()) };
        let log = Log::read(stderr, Arc::clone(journal)).map_err(|error| error.to_string())?;
        if let Some(limit) = &site.limit {
            limit.add(master.id());
        }
        let with = if preloads { "with" } else { "without" };
        journal.note(format!("fleet {name} started, master {}, {with} a template", master.id()));
        let fleet = Self {
            master,
            marker,
            log,
            seen: BTreeSet::new(),
            preloads,
            upgrades: false,
            may_end: BTreeSet::new(),
        };
        if !fleet.log.wait_for("listening on ", BOUND) {
            return Err(format!("the fleet does not listen: {:?}", fleet.log.since(0)));
        }
        journal.up();
        if !fleet.log.wait_for("ready (pids", BOUND) {
            return Err(format!("the fleet is not ready: {:?}", fleet.log.since(0)));
        }
        Ok(fleet)
    }

    pub(crate) fn master(&self) -> u32 {
        self.master.id()
    }

    /// Sends a signal to the master, which may have ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = try_send(self.master(), signal);
    }

    /// The live children, in the order of their pids.
    pub(crate) fn children(&mut self) -> Vec<u32> {
        self.children_that(|pid| !is_template(pid))
    }

    /// The live templates, in the order of their pids. One that has not taken its handshake is not known from a child.
    pub(crate) fn templates(&mut self) -> Vec<u32> {
        if self.preloads { self.children_that(is_template) } else { Vec::new() }
    }

    /// How many templates a complete fleet has, with children of this many generations. The generations of the program
    /// before an upgrade have one again when a child needs it.
    pub(crate) fn templates_for(&self, generations: usize) -> RangeInclusive<usize> {
        match (self.preloads, self.upgrades) {
            (false, _) => 0..=0,
            (true, false) => generations..=generations,
            (true, true) => 0..=generations,
        }
    }

    fn children_that(&mut self, are: impl Fn(u32) -> bool) -> Vec<u32> {
        let children = proc::children(self.master());
        self.seen.extend(&children);
        children.into_iter().filter(|child| proc::is_alive(*child) && are(*child)).collect()
    }

    /// Every live process.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.marker.live_pids()
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.master.try_wait().ok().flatten()
    }

    /// Waits for the end of the master.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.has_ended() {
                return Some(status);
            }
            if start.elapsed() > limit {
                return None;
            }
            self.children();
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until no process is left, and reaps those whose master was killed. Returns these, and which are left.
    pub(crate) fn wait_for_nobody(&mut self, limit: Duration) -> (Vec<Orphan>, Vec<u32>) {
        let start = Instant::now();
        let mut ended = Vec::new();
        loop {
            let left = self.processes();
            self.seen.extend(left.iter().filter(|pid| **pid != self.master.id()));
            ended.extend(self.seen.iter().filter_map(|pid| reap(*pid)));
            if left.is_empty() || start.elapsed() > limit {
                // One that has ended since then.
                ended.extend(self.seen.iter().filter_map(|pid| reap(*pid)));
                return (ended, left);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.log.stall(false);
        let _ = self.master.kill();
        let _ = self.master.wait();
        kill_all();
        TREES.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for pid in &self.seen {
            reap(*pid);
        }
    }
}

/// Whether the process is a template, and no child that bears its title for a moment.
fn is_template(pid: u32) -> bool {
    proc::is_template(pid) && proc::group(pid) == Some(pid)
}

/// A process that has ended after its master.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orphan {
    pub(crate) pid: u32,
    /// 128 plus the number for a signal.
    pub(crate) status: i32,
    pub(crate) is_child: bool,
}

/// A child of this process that has ended. This process is the subreaper.
fn reap(pid: u32) -> Option<Orphan> {
    let is_child = proc::name(pid).is_some_and(|name| name.contains(": child"));
    let status = match waitpid(Pid::from_raw(pid.try_into().ok()?), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, status)) => status,
        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
        Ok(_) | Err(_) => return None,
    };
    Some(Orphan { pid, status, is_child })
}

/// Makes orphans the children of this process.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Makes a file executable, or not.
pub(crate) fn make_executable(file: &File, executable: bool) {
    use std::os::unix::fs::PermissionsExt;
    let mode = if executable { 0o755 } else { 0o644 };
    let _ = file.set_permissions(fs::Permissions::from_mode(mode));
}
