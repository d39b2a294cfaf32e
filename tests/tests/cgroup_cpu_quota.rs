//! The default number of children under a CPU quota.
#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use prefork_tests::fleet::Server;
use prefork_tests::skip::skipped;
use prefork_tests::wait;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A cgroup with a quota of one CPU.
struct OneCpuCgroup(PathBuf);

impl OneCpuCgroup {
    /// Creates the cgroup, in version 1 or 2; an error if this process may not.
    fn create() -> io::Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let first_version = root.join("cpu/cpu.shares").exists() || root.join("cpu/tasks").exists();
        let parent = if first_version { root.join("cpu") } else { root.to_owned() };
        let group = Self(parent.join(format!("prefork-test-{}", std::process::id())));
        fs::create_dir(&group.0)?;
        if first_version {
            fs::write(group.0.join("cpu.cfs_period_us"), "100000")?;
            fs::write(group.0.join("cpu.cfs_quota_us"), "100000")?;
        } else {
            fs::write(group.0.join("cpu.max"), "100000 100000")?;
        }
        Ok(group)
    }
}

impl Drop for OneCpuCgroup {
    fn drop(&mut self) {
        // A process leaves its cgroup a moment after its end.
        wait::until("empty cgroup", || fs::remove_dir(&self.0).is_ok() || !self.0.exists());
    }
}

#[test]
fn default_workers_with_cpu_quota_of_one_is_one() {
    if thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) {
        return skipped("two-cpus");
    }
    let group = match OneCpuCgroup::create() {
        Ok(group) => group,
        Err(error) => {
            eprintln!("cannot make a cgroup: {error}");
            return skipped("cpu-quota");
        }
    };
    let script = format!(r#"echo $$ >"{}/cgroup.procs" && exec "$0""#, group.0.display());
    let fleet = Server::in_shell(&script, SERVER).unset("workers").start();
    assert_eq!(fleet.first_children().len(), 1);
    fleet.stop();
}
