//! Executes a command in which one system call fails with EPERM: `forbid NAME COMMAND…`.

use std::process::ExitCode;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let program = arguments.next().unwrap_or_default();
    let outcome = filter::forbid(&name.to_string_lossy()).map(|()| {
        use std::os::unix::process::CommandExt;
        std::process::Command::new(&program).args(arguments).exec()
    });
    eprintln!("cannot run {program:?} without {name:?}: {outcome:?}");
    ExitCode::FAILURE
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod filter {
    use std::error::Error;

    use nix::libc;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

    pub(super) fn forbid(name: &str) -> Result<(), Box<dyn Error>> {
        let number = number_of(name).ok_or("an unknown system call")?;
        let error = SeccompAction::Errno(u32::try_from(libc::EPERM)?);
        let rules = [(number, Vec::new())].into();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, error, TargetArch::x86_64)?;
        seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
        Ok(())
    }

    fn number_of(name: &str) -> Option<i64> {
        Some(match name {
            "clone" => libc::SYS_clone,
            "close_range" => libc::SYS_close_range,
            "dup2" => libc::SYS_dup2,
            "getdents64" => libc::SYS_getdents64,
            "getsockopt" => libc::SYS_getsockopt,
            "kill" => libc::SYS_kill,
            "memfd_create" => libc::SYS_memfd_create,
            "prctl" => libc::SYS_prctl,
            "prlimit64" => libc::SYS_prlimit64,
            "readlink" => libc::SYS_readlink,
            "recvmsg" => libc::SYS_recvmsg,
            "sched_getaffinity" => libc::SYS_sched_getaffinity,
            "sendmsg" => libc::SYS_sendmsg,
            "setpgid" => libc::SYS_setpgid,
            "setsockopt" => libc::SYS_setsockopt,
            "socketpair" => libc::SYS_socketpair,
            "statx" => libc::SYS_statx,
            "tgkill" => libc::SYS_tgkill,
            _ => return None,
        })
    }
}
