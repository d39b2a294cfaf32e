//! A limit on the number of processes of a fleet, where this process may make control groups.

use std::path::{Path, PathBuf};
use std::{fs, process};

/// Where the controller for processes is: version 1, and version 2.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];

/// A control group.
#[derive(Debug)]
pub(crate) struct ProcessLimit(PathBuf);

impl ProcessLimit {
    /// A group without a limit; `None` if the machine lets this process have none.
    pub(crate) fn new() -> Option<Self> {
        let made = |root: &&str| {
            let path = Path::new(root).join(format!("prefork-faults-{}", process::id()));
            let _ = fs::create_dir(&path);
            let group = Self(path);
            group.set("max").then_some(group)
        };
        ROOTS.iter().find_map(made)
    }

    pub(crate) fn add(&self, pid: u32) -> bool {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).is_ok()
    }

    /// Lets no process or thread be started, whatever ends meanwhile.
    pub(crate) fn fill(&self) -> bool {
        self.set("1")
    }

    pub(crate) fn lift(&self) {
        self.set("max");
    }

    fn set(&self, limit: &str) -> bool {
        fs::write(self.0.join("pids.max"), limit).is_ok()
    }
}

impl Drop for ProcessLimit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
