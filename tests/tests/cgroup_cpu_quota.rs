//! The number of children that a quota of CPU asks for.
#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use prefork_tests::fleet::Server;
use prefork_tests::wait;

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A group of processes that may use one CPU between them.
struct OneCpu(PathBuf);

impl OneCpu {
    /// In whichever version of cgroups there is, if this process may.
    fn make() -> io::Result<Self> {
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

impl Drop for OneCpu {
    fn drop(&mut self) {
        // A process is out of its group a little later than it is gone.
        wait::until("an empty cgroup", || fs::remove_dir(&self.0).is_ok() || !self.0.exists());
    }
}

#[test]
fn a_quota_of_cpu_limits_the_number_of_children() {
    if thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) {
        return eprintln!("skipped: one CPU is all that there is");
    }
    let group = match OneCpu::make() {
        Ok(group) => group,
        Err(error) => return eprintln!("skipped: no cgroup with a quota of CPU can be made here: {error}"),
    };
    let script = format!(r#"echo $$ >"{}/cgroup.procs" && exec "$0""#, group.0.display());
    let fleet = Server::in_shell(&script, SERVER).unset("workers").start();
    assert_eq!(fleet.first_children().len(), 1);
    fleet.stop();
}
