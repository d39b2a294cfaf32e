//! What Linux alone offers. `portable.rs` has the same names for the other Unixes.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{F_GETFL, fcntl};
use nix::libc;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, SysconfVar};
use socket2::Socket;

/// A socket that is bound can still open up for others of its user on the same address.
pub(super) const JOINS_GROUPS_LATE: bool = true;

/// What to do where the system refuses an address to this user.
pub(crate) const ADDRESS_DENIED_HINT: &str =
    "ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher port";

/// The file that this process runs, pinned.
pub(super) fn own_executable() -> Option<(PathBuf, File)> {
    match pin(Path::new("/proc/self/exe")) {
        Ok((name, Some(file))) => Some((name, file)),
        Ok((_, None)) | Err(_) => None,
    }
}

/// Where a process finds its own descriptors.
const DESCRIPTORS: &str = "/proc/self/fd";

/// A name for the file at `path` that no rename or deletion can change, for every process that has
/// inherited the file beside it: whoever it runs as, it may follow links of its own.
pub(super) fn pin(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let name = Path::new(DESCRIPTORS).join(file.as_raw_fd().to_string());
    // Without /proc there is only the path.
    if name.exists() { Ok((name, Some(file))) } else { Ok((path.to_owned(), None)) }
}

/// The descriptor that the name of a pinned file stands for.
pub(super) fn pinned(name: &Path) -> Option<RawFd> {
    name.strip_prefix(DESCRIPTORS).ok()?.to_str()?.parse().ok()
}

/// Whether a descriptor is open and of the kind that pins a file.
pub(super) fn is_pin(descriptor: BorrowedFd<'_>) -> bool {
    fcntl(descriptor, F_GETFL).is_ok_and(|flags| flags & libc::O_PATH != 0)
}

/// A file without a name, in memory.
pub(super) fn anonymous_file() -> io::Result<File> {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    Ok(File::from(nix::sys::memfd::memfd_create(c"prefork-upgrade", flags)?))
}

/// Marks every descriptor above standard error close-on-exec, those that came from whoever started
/// this process included.
pub(super) fn close_on_exec_from_3() {
    // SAFETY: the call takes plain numbers and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result != 0 {
        super::program::close_on_exec_one_by_one();
    }
}

/// Whether the calling thread is the only one.
pub(super) fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// The kernel named this process after the link it was started through; `ps` shall show the
/// program's own name.
pub(super) fn restore_process_name() {
    let Some(mut program) = std::env::args_os().next().map(PathBuf::from) else { return };
    if program.starts_with("/proc") {
        // A wrapper passed on what it executed as the name.
        program = std::env::current_exe().unwrap_or(program);
    }
    let Some(name) = program.file_name() else { return };
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Cosmetic: a refusal changes nothing that matters.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Interrupts the threads that sit in `accept` on one of `listeners`, so that they try again.
/// Says how many there were.
pub(super) fn interrupt_accepts(listeners: &[RawFd]) -> io::Result<usize> {
    let process = std::process::id();
    let mut interrupted = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        let Ok(thread) = task.file_name().to_string_lossy().parse::<libc::pid_t>() else { continue };
        let Ok(call) = fs::read_to_string(task.path().join("syscall")) else { continue };
        if accepts_on(&call, listeners) {
            // SAFETY: the call takes plain numbers; a thread that has ended meanwhile is an error.
            unsafe {
                libc::syscall(libc::SYS_tgkill, process, thread, super::accept_gate::WAKE as libc::c_int)
            };
            interrupted += 1;
        }
    }
    Ok(interrupted)
}

/// Whether another thread of this process is on its way somewhere, and not asleep in a call: what it
/// has just taken from a listener may not have a descriptor yet.
pub(super) fn others_are_moving() -> bool {
    let own = nix::unistd::gettid().to_string();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return false };
    tasks.flatten().filter(|task| task.file_name().to_str() != Some(own.as_str())).any(|task| {
        fs::read_to_string(task.path().join("syscall")).is_ok_and(|call| call.starts_with("running"))
    })
}

/// Reads a line of `/proc/self/task/*/syscall`: the call's number, then its arguments in hex.
fn accepts_on(call: &str, listeners: &[RawFd]) -> bool {
    let mut fields = call.split_whitespace();
    let number = fields.next().and_then(|number| number.parse::<libc::c_long>().ok());
    let first =
        fields.next().and_then(|first| RawFd::from_str_radix(first.trim_start_matches("0x"), 16).ok());
    let is_accept = number.is_some_and(is_accept_call);
    is_accept && first.is_some_and(|first| listeners.contains(&first))
}

// Some architectures have no plain accept(2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "arm"))]
fn is_accept_call(number: libc::c_long) -> bool {
    number == libc::SYS_accept || number == libc::SYS_accept4
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "arm"
)))]
fn is_accept_call(number: libc::c_long) -> bool {
    number == libc::SYS_accept4
}

/// Reaps what was orphaned and came to this process because it is PID 1, but none of `known`, and
/// nothing that user code in this process started and may want to wait for itself: such a process
/// is in our process group, while orphans were led by a child, or a shell, into another.
pub(super) fn reap_orphans(known: &[Pid]) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let own_group = nix::unistd::getpgrp().as_raw();
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let pid = Pid::from_raw(pid);
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if known.contains(&pid) || !is_orphaned_zombie(&stat, std::process::id(), own_group) {
            continue;
        }
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// Reads `/proc/*/stat`: the name in parentheses may hold anything, the fields after it are
/// state, parent and process group.
fn is_orphaned_zombie(stat: &str, parent: u32, own_group: libc::pid_t) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    fields.next() == Some("Z")
        && fields.next().and_then(|ppid| ppid.parse().ok()) == Some(parent)
        && fields
            .next()
            .and_then(|group| group.parse().ok())
            .is_some_and(|group: libc::pid_t| group != own_group)
}

/// Where each thread of this process is, in a line: as far as /proc lets its owner know.
pub(crate) fn threads() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let describe = |task: fs::DirEntry| {
        let read =
            |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned();
        let (name, place, call, stack) = (read("comm"), read("wchan"), read("syscall"), read("stack"));
        let place = if place.is_empty() || place == "0" { "running" } else { place.as_str() };
        let stack: Vec<&str> = stack.lines().filter_map(|line| line.split("] ").nth(1)).collect();
        let id = task.file_name();
        format!(
            "thread {} ({name}) in {place}, syscall {call}, stack [{}]",
            id.to_string_lossy(),
            stack.join(" ")
        )
    };
    tasks.flatten().map(describe).collect()
}

/// Success also where the error says that it was so already.
pub(super) fn unless(harmless: libc::c_int, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(harmless) => Ok(()),
        outcome => outcome,
    }
}

/// Lets `accept` have a connection only once there is something to read from it, or after `limit`.
pub(crate) fn set_defer_accept(socket: &Socket, limit: Duration) -> io::Result<()> {
    let seconds = i32::try_from(limit.as_secs().max(1)).map_err(io::Error::other)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds)
}

/// Takes data that comes with the first packet of up to `queue` connections at a time.
pub(crate) fn set_fast_open(socket: &Socket, queue: u32) -> io::Result<()> {
    let queue = i32::try_from(queue).map_err(io::Error::other)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &queue)
}

/// A listening Unix socket whose name the kernel has picked, which nobody knows.
pub(super) fn nameless_unix_listener() -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    nix::sys::socket::listen(&socket, Backlog::new(16)?)?;
    Ok(socket.into())
}

pub(super) fn set_option<T>(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the size are those of one value that outlives the call, and each
    // caller passes the type that its option takes.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many connections wait to be accepted. (For a listening socket, the kernel reports its queue
/// where other sockets have their unacknowledged segments.)
pub(super) fn queued(listener: RawFd) -> io::Result<u32> {
    // SAFETY: plain numbers; all zeroes is a value of the type.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `size` bytes into `info`.
    let result = unsafe {
        libc::getsockopt(
            listener,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            std::ptr::from_mut(&mut info).cast(),
            std::ptr::from_mut(&mut size),
        )
    };
    if result == 0 { Ok(info.tcpi_unacked) } else { Err(io::Error::last_os_error()) }
}

/// How much memory this process occupies now.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = nix::unistd::sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());
    match (pages, page) {
        (Some(pages), Some(page)) => Ok(pages * page),
        _ => Err(io::Error::other("/proc/self/statm is of a new kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_are_recognised() {
        let accept = format!("{} 0x7 0x7ffd0 0x7ffd8 0x80000 0x0 0x0 0x7ffd 0x7f", libc::SYS_accept4);
        assert!(accepts_on(&accept, &[5, 7]));
        assert!(!accepts_on(&accept, &[5]));
        let read = format!("{} 0x7 0x7ffd0 0x40 0x0 0x0 0x0 0x7ffd 0x7f", libc::SYS_read);
        assert!(!accepts_on(&read, &[7]));
        assert!(!accepts_on("running\n", &[7]));
        assert!(!accepts_on("", &[7]));
    }

    #[test]
    fn only_orphans_are_reaped() {
        assert!(is_orphaned_zombie("7 (a) b) Z 1 5 5 0", 1, 1));
        assert!(!is_orphaned_zombie("7 (sh) Z 1 1 1 0", 1, 1), "started by user code here");
        assert!(!is_orphaned_zombie("7 (sh) S 1 5 5 0", 1, 1), "alive");
        assert!(!is_orphaned_zombie("7 (sh) Z 3 5 5 0", 1, 1), "somebody else's");
    }
}
