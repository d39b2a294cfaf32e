//! What a hostile child can send over the link to its master.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, thread};

use nix::sys::socket::{ControlMessage, MsgFlags, Shutdown, getsockopt, send, sendmsg, shutdown, sockopt};
use nix::unistd::getppid;

/// The link to the master.
static LINK: OnceLock<OwnedFd> = OnceLock::new();

/// Keeps a copy of the link. To be called in the child itself: a template has another link.
pub fn keep_link() {
    // The parent of a child whose master has just died is another process, and such a child ends with this status.
    LINK.get_or_init(|| find_link().unwrap_or_else(|| std::process::exit(1)));
}

/// A copy of a socket whose other end is the parent's.
fn find_link() -> Option<OwnedFd> {
    let descriptors = fs::read_dir("/proc/self/fd").ok()?;
    let numbers = descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = numbers.collect();
    numbers.into_iter().find_map(|number| {
        // SAFETY: it is used for the call and a copy only, and one that was closed meanwhile fails.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let peer = getsockopt(&descriptor, sockopt::PeerCredentials).ok()?;
        (peer.pid() == getppid().as_raw()).then(|| descriptor.try_clone_to_owned().ok())?
    })
}

/// Starts a process that has the link of this one as its standard input.
pub fn lend_link(command: &mut Command) -> Child {
    let link = find_link().expect("this process has a link to its master");
    command.stdin(Stdio::from(link)).spawn().expect("the program runs")
}

/// Sends the text of a file over the link that is standard input, twice a second, as long as there is one.
pub fn tell(path: &str) {
    let text = fs::read(path).expect("the file can be read");
    while send_text(io::stdin().as_raw_fd(), &text).is_ok() {
        thread::sleep(Duration::from_millis(500));
    }
}

/// Sends lines without end, in a thread of its own.
///
/// # Errors
///
/// None.
pub fn flood() -> io::Result<()> {
    repeat(|link| send_text(link, &b"ready\n".repeat(100)))
}

/// Sends a line without end, in a thread of its own.
///
/// # Errors
///
/// None.
pub fn send_half_line() -> io::Result<()> {
    repeat(|link| send_text(link, &[b'x'; 100]))
}

/// Sends lines that mean nothing, or that come at the wrong time.
///
/// # Errors
///
/// The link is closed.
pub fn send_rubbish() -> io::Result<()> {
    link(|link| send_text(link, b"\xff\0 rubbish\nready\nready=\n\nreceived twice=1\n"))
}

/// Sends what a child that checks a program for an upgrade would send. What the program needs cannot be opened,
/// which an upgrade reports.
///
/// # Errors
///
/// The link is closed.
pub fn send_plan() -> io::Result<()> {
    let plan = "prefork-plan/1 workers=1 grace_ms=1 sharing=shared addr=x network=unix at=unix:/no/such/file";
    // FNV-1a.
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let check = plan.bytes().fold(0x811c_9dc5, hash);
    let line = format!("{plan} check={check:08x}\n");
    link(|link| send_text(link, line.as_bytes()))
}

/// Sends a message of its log that claims to be another process's, with control characters, and one without end.
///
/// # Errors
///
/// The link is closed.
pub fn send_log() -> io::Result<()> {
    let forged =
        "log slot=9 pid=4711 generation=8 text=forged%20%0a%1b[2J level=error event=reload_aborted\n";
    let part = format!("log text={}\n", "x".repeat(200));
    let long = format!(
        "{}log text=forged level=warn event=x\nlog text=forged%20again level=warn event=x\n",
        part.repeat(8)
    );
    let long = format!("log text=forged\n{long}");
    let no_name =
        "log text=forged level=error event=%22\nlog text=%zz\nlog\nlog text=forged level=loud event=x\n";
    link(|link| send_text(link, forged.as_bytes()))?;
    link(|link| send_text(link, no_name.as_bytes()))?;
    link(|link| send_text(link, long.as_bytes()))
}

/// Sends messages of its log without end, in a thread of its own.
///
/// # Errors
///
/// None.
pub fn flood_log() -> io::Result<()> {
    repeat(|link| send_text(link, b"log text=flood%20of%20a%20child level=error event=x\n"))
}

/// Sends two thousand descriptors with a few bytes of text.
///
/// # Errors
///
/// The link is closed.
pub fn send_descriptors() -> io::Result<()> {
    link(send_descriptors_to)
}

/// Closes the link for both sides.
///
/// # Errors
///
/// The link is closed.
pub fn close() -> io::Result<()> {
    link(|link| Ok(shutdown(link, Shutdown::Both)?))
}

/// Attacks in a thread of its own until the link is closed.
fn repeat(act: impl Fn(RawFd) -> io::Result<()> + Send + 'static) -> io::Result<()> {
    thread::spawn(move || while link(&act).is_ok() {});
    Ok(())
}

/// Calls `act` with the link to the master. It needs no further descriptor.
fn link(act: impl Fn(RawFd) -> io::Result<()>) -> io::Result<()> {
    act(LINK.get().ok_or(io::ErrorKind::NotConnected)?.as_raw_fd())
}

fn send_text(link: RawFd, text: &[u8]) -> io::Result<()> {
    send(link, text, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Sends two thousand descriptors with a few bytes of text.
fn send_descriptors_to(link: RawFd) -> io::Result<()> {
    let null = fs::File::open("/dev/null")?;
    let descriptors = [null.as_raw_fd(); 200];
    for _ in 0..10 {
        let control = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(link, &[IoSlice::new(b"x")], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    }
    send_text(link, b"\n")
}
