//! The master's one place to wait: signals by self-pipe, children by socket and SIGCHLD, one `poll`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use socket2::Socket;

use super::channel::{Channel, Received};
use super::program::with_pin;
use super::waker::{SelfPipe, Waker};
use super::{linux, pid_of};
use crate::sys::{ProcessEvent, Producer, Signal};

pub(super) type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// What an operator can ask for, and how.
const REQUESTS: [(i32, Signal); 7] = [
    (SIGTERM, Signal::Stop),
    (SIGINT, Signal::Stop),
    (SIGQUIT, Signal::Quit),
    (SIGHUP, Signal::Reload),
    (SIGUSR2, Signal::Upgrade),
    (SIGTTIN, Signal::Grow),
    (SIGTTOU, Signal::Shrink),
];

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Reactor<K: Ord + Copy> {
    signals: Signals,
    children: BTreeMap<K, Process>,
    /// What [`Waker`]s write to, if there are any.
    self_pipe: Option<SelfPipe>,
    /// Set when the reactor is gone: signals then do again what they do by default.
    retired: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Process {
    handle: Handle,
    /// `None` once the child has hung up.
    channel: Option<Channel>,
}

/// A child of this process; not reaped yet, so its pid is nobody else's.
#[derive(Debug)]
enum Handle {
    Started(Child),
    /// Started by the program that this process ran before.
    Adopted(Pid),
}

impl Handle {
    fn id(&self) -> io::Result<Pid> {
        match self {
            Self::Started(child) => pid_of(child.id()),
            Self::Adopted(pid) => Ok(*pid),
        }
    }

    fn signal(&self, signal: Number) -> io::Result<()> {
        Ok(kill(self.id()?, signal)?)
    }

    /// The status, if it has ended. Somebody else may have taken it (a hook that waits for any
    /// child): then the child is gone all the same, and nobody knows how.
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        const UNKNOWN: i32 = 127 << 8;
        let status = match self {
            Self::Started(child) => child.try_wait(),
            Self::Adopted(pid) => match waitpid(*pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => Ok(Some(ExitStatus::from_raw(code << 8))),
                Ok(WaitStatus::Signaled(_, signal, core)) => {
                    Ok(Some(ExitStatus::from_raw(signal as i32 | if core { 0x80 } else { 0 })))
                }
                Ok(_) => Ok(None),
                Err(error) => Err(error.into()),
            },
        };
        match status {
            Err(error) if error.raw_os_error() == Some(Errno::ECHILD as i32) => {
                Ok(Some(ExitStatus::from_raw(UNKNOWN)))
            }
            status => status,
        }
    }

    /// Kills it and waits for its end.
    fn destroy(&mut self) {
        let _ = self.signal(Number::SIGKILL);
        match self {
            Self::Started(child) => drop(child.wait()),
            Self::Adopted(pid) => drop(waitpid(*pid, None)),
        }
    }
}

impl<K: Ord + Copy> Reactor<K> {
    /// Takes over the signals that a master answers.
    pub(crate) fn new() -> io::Result<Self> {
        let retired = Arc::new(AtomicBool::new(false));
        // Also replaces a SIGCHLD that was inherited as ignored, which would make waiting fail.
        let mut wanted = vec![SIGCHLD];
        for (signal, _) in REQUESTS {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&retired))?;
            wanted.push(signal);
        }
        let signals = listen_for(&wanted)?;
        Ok(Self { signals, children: BTreeMap::new(), self_pipe: None, retired })
    }

    /// For other threads, to end a [`wait`](Self::wait).
    pub(crate) fn waker(&mut self) -> io::Result<Waker> {
        let self_pipe = match self.self_pipe.take() {
            Some(self_pipe) => self_pipe,
            None => SelfPipe::new()?,
        };
        Ok(self.self_pipe.insert(self_pipe).waker())
    }

    /// Takes over a child that the program which this process ran before had started.
    pub(crate) fn adopt(&mut self, key: K, pid: u32, channel: Option<Channel>) -> io::Result<()> {
        if let Some(channel) = &channel {
            channel.set_nonblocking()?;
        }
        self.children.insert(key, Process { handle: Handle::Adopted(pid_of(pid)?), channel });
        Ok(())
    }

    /// Lets signals in that the last program had blocked, and looks after children that ended
    /// meanwhile.
    pub(crate) fn catch_up(&mut self) -> io::Result<Vec<ProcessEvent<K>>> {
        SigSet::empty().thread_set_mask()?;
        let mut events = Vec::new();
        self.reap(&mut events)?;
        Ok(events)
    }

    /// The channel to a child, while it is open.
    pub(crate) fn channel(&self, key: K) -> Option<&Channel> {
        self.children.get(&key)?.channel.as_ref()
    }

    /// Starts a child with `greeting`, `listeners` and, unless they are empty, `secrets` waiting on its
    /// standard input. A `producer` turns the finished command into a process. Returns its pid.
    pub(crate) fn spawn(
        &mut self,
        key: K,
        mut command: Command,
        producer: Option<&Producer<'_>>,
        greeting: &str,
        listeners: &[&Socket],
        secrets: &str,
    ) -> io::Result<u32> {
        let (mut channel, theirs) = Channel::pair()?;
        channel.set_nonblocking()?;
        channel.send(greeting, listeners)?;
        if !secrets.is_empty() {
            channel.send_secrets(secrets)?;
        }
        linux::close_on_exec_from_3();
        let name = command.get_program().to_owned();
        let child = with_pin(&name, || match producer {
            Some(produce) => with_stdin(theirs, |theirs| {
                command.stdin(Stdio::from(theirs));
                produce(command)
            }),
            None => command.stdin(Stdio::from(theirs)).spawn(),
        })?;
        let pid = child.id();
        self.children.insert(key, Process { handle: Handle::Started(child), channel: Some(channel) });
        Ok(pid)
    }

    /// Says a line to a child. One that has hung up does not hear it.
    pub(crate) fn say(&mut self, key: K, line: &str) -> io::Result<()> {
        match self.children.get_mut(&key).and_then(|process| process.channel.as_mut()) {
            Some(channel) => channel.send(line, &[]),
            None => Ok(()),
        }
    }

    /// Asks a child to stop.
    pub(crate) fn terminate(&mut self, key: K) -> io::Result<()> {
        match self.children.get(&key) {
            Some(process) => process.handle.signal(Number::SIGTERM),
            None => Ok(()),
        }
    }

    /// Kills a child.
    pub(crate) fn kill(&mut self, key: K) -> io::Result<()> {
        self.children.get(&key).map_or(Ok(()), |process| process.handle.signal(Number::SIGKILL))
    }

    /// Waits until something happens, or for `timeout`. May return nothing.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<ProcessEvent<K>>> {
        let mut keys = Vec::with_capacity(self.children.len());
        let mut descriptors = vec![PollFd::new(self.signals.get_read().as_fd(), PollFlags::POLLIN)];
        for (key, process) in &self.children {
            if let Some(channel) = &process.channel {
                keys.push(*key);
                descriptors.push(PollFd::new(channel.as_fd(), PollFlags::POLLIN));
            }
        }
        // The last, so that the others are in the order of their keys.
        descriptors
            .extend(self.self_pipe.iter().map(|self_pipe| PollFd::new(self_pipe.as_fd(), PollFlags::POLLIN)));
        match poll(&mut descriptors, poll_timeout(timeout)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let stirred = descriptors[1..].iter().map(|descriptor| descriptor.any().unwrap_or(false));
        let talking: Vec<K> =
            keys.iter().zip(stirred).filter(|(_, stirred)| *stirred).map(|(key, _)| *key).collect();
        let mut events = Vec::new();
        // Words before ends: a child that says something and exits has said it.
        for key in talking {
            self.hear(key, &mut events);
        }
        self.take_signals(&mut events)?;
        if let Some(self_pipe) = &mut self.self_pipe {
            self_pipe.drain();
        }
        Ok(events)
    }

    fn hear(&mut self, key: K, events: &mut Vec<ProcessEvent<K>>) {
        let Some(process) = self.children.get_mut(&key) else { return };
        let Some(channel) = &mut process.channel else { return };
        let open = loop {
            match channel.receive() {
                Ok(Received::Bytes) => {}
                Ok(Received::Nothing) => break true,
                Ok(Received::End) | Err(_) => break false,
            }
        };
        while let Some(line) = channel.next_line() {
            events.push(ProcessEvent::Said(key, line));
        }
        if !open {
            process.channel = None;
            events.push(ProcessEvent::HungUp(key));
        }
    }

    fn take_signals(&mut self, events: &mut Vec<ProcessEvent<K>>) -> io::Result<()> {
        let mut children_ended = false;
        for signal in self.signals.pending() {
            children_ended |= signal == SIGCHLD;
            let request = REQUESTS.iter().find(|(number, _)| *number == signal);
            events.extend(request.map(|(_, request)| ProcessEvent::Signal(*request)));
        }
        if children_ended {
            self.reap(events)?;
        }
        Ok(())
    }

    /// Collects every child that has ended: one SIGCHLD may stand for many.
    fn reap(&mut self, events: &mut Vec<ProcessEvent<K>>) -> io::Result<()> {
        let mut ended = Vec::new();
        for (key, process) in &mut self.children {
            if let Some(status) = process.handle.try_wait()? {
                ended.push((*key, status));
            }
        }
        for (key, status) in ended {
            // Its last words, if it had any.
            self.hear(key, events);
            self.children.remove(&key);
            events.push(ProcessEvent::Exited(key, status));
        }
        if std::process::id() == 1 {
            let known: Vec<Pid> =
                self.children.values().filter_map(|process| process.handle.id().ok()).collect();
            linux::reap_orphans(&known);
        }
        Ok(())
    }
}

impl<K: Ord + Copy> Drop for Reactor<K> {
    /// Whatever the reason, a panic included: no child stays behind.
    fn drop(&mut self) {
        for process in self.children.values_mut() {
            process.handle.destroy();
        }
        self.retired.store(true, Ordering::SeqCst);
    }
}

/// Starts a thread that gets no signal: those for the process are the reactor's, and must not arrive
/// in another thread while the reactor's own has them blocked.
pub(crate) fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A thread begins with the mask of the one that starts it.
    let _mask = SignalMaskGuard::begin()?;
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// Runs `start` with `handshake` as this process's own standard input as well: a producer that wraps
/// the command in another cannot move its standard input, but what it starts inherits ours.
fn with_stdin<T>(handshake: OwnedFd, start: impl FnOnce(OwnedFd) -> io::Result<T>) -> io::Result<T> {
    let before = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(&handshake)?;
    let started = start(handshake);
    nix::unistd::dup2_stdin(before)?;
    started
}

/// Collects `signals` on a self-pipe, whatever mask and dispositions were inherited.
pub(super) fn listen_for(signals: &[i32]) -> io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
    let mut mask = SigSet::empty();
    for signal in signals {
        mask.add(Number::try_from(*signal)?);
    }
    mask.thread_unblock()?;
    Ok(delivery)
}

/// `None` waits for ever. Rounds up: waking early would mean waking twice.
pub(super) fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else { return PollTimeout::NONE };
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

/// Blocks every signal while it lives.
pub(super) struct SignalMaskGuard {
    before: SigSet,
}

impl SignalMaskGuard {
    pub(super) fn begin() -> io::Result<Self> {
        Ok(Self { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)? })
    }
}

impl Drop for SignalMaskGuard {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}
