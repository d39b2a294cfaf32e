//! A process that outlives this one, if this one is killed, and then ends what is left of the contenders, and removes
//! the files of the run.
//!
//! It knows their process groups: after the death of a master its children keep the group, but not the parent. The
//! children of prefork have groups of their own, and end by themselves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::BenchResult;

/// The first argument of that process.
const ROLE: &str = "keep";

static KEEPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Is the keeper if the arguments say so, until its parent has ended.
pub(crate) fn run_if_asked() -> bool {
    if std::env::args().nth(1).as_deref() != Some(ROLE) {
        return false;
    }
    let mut groups = BTreeSet::new();
    for line in io::stdin().lines().map_while(Result::ok) {
        let Ok(group) = line[1..].parse::<i32>() else { continue };
        if line.starts_with('+') {
            groups.insert(group)
        } else {
            groups.remove(&group)
        };
    }
    for group in groups {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    if let Some(scratch) = std::env::args_os().nth(2) {
        let _ = fs::remove_dir_all(scratch);
    }
    true
}

pub(crate) fn start(scratch: &Path) -> BenchResult<()> {
    let mut command = Command::new("/proc/self/exe");
    // Ctrl-C is not for it.
    command.arg(ROLE).arg(scratch).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
    let pipe = command.spawn()?.stdin.ok_or("no pipe to the keeper")?;
    let _ = KEEPER.set(Mutex::new(pipe));
    Ok(())
}

/// The leader of a process group was started.
pub(crate) fn watch(leader: u32) {
    tell(&format!("+{leader}\n"));
}

/// Nothing is left of that group: its number may be another one's soon.
pub(crate) fn forget(leader: u32) {
    tell(&format!("-{leader}\n"));
}

fn tell(line: &str) {
    // Without a keeper, contenders are ended all the same unless this process is killed.
    if let Some(Ok(mut pipe)) = KEEPER.get().map(Mutex::lock) {
        let _ = pipe.write_all(line.as_bytes());
    }
}
