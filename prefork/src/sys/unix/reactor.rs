//! The master's event loop: signals by self-pipe, children by socket and SIGCHLD, one `poll`.

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
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal as Number, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};

use super::channel::{Channel, Received};
use super::descriptors::close_on_exec_from_3;
use super::platform;
use super::process::{is_reaped, pid_of, wait_for_exit};
use super::program::with_pin;
use super::signals::{
    SignalFlag, Signals, block_for_child, is_left_alone, listen_for, spawn_thread, survive_alarms,
    take_signal_of_terminal, tell_signals_of_terminals_apart,
};
use super::template::is_own_child;
use super::waker::{SelfPipe, Waker, poll_timeout};
use crate::sys::{Handover, ProcessEvent, Producer, Signal};

/// The signals that a master handles, in the order in which those of one moment are returned: after a stop
/// the others have no effect.
const REQUESTS: [(i32, Signal); 8] = [
    (SIGTERM, Signal::Stop),
    (SIGINT, Signal::Stop),
    (SIGQUIT, Signal::Quit),
    (SIGHUP, Signal::Reload),
    (SIGUSR2, Signal::Upgrade),
    (SIGTTIN, Signal::Grow),
    (SIGTTOU, Signal::Shrink),
    (SIGUSR1, Signal::ReopenLogs),
];

/// How long signals have no effect after the end of a reactor.
const RETIRE_AFTER: Duration = Duration::from_millis(250);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Reactor<K: Ord + Copy> {
    signals: Signals,
    requested: SignalFlag,
    /// Whether a SIGCHLD was taken and no child was reaped since.
    children_ended: bool,
    children: BTreeMap<K, Process>,
    /// What [`Waker`]s write to, if there are any.
    self_pipe: Option<SelfPipe>,
    /// Set after the reactor is dropped: signals then have their default effect again.
    retired: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Process {
    handle: Handle,
    /// `None` once the child has closed its end.
    channel: Option<Channel>,
    /// Whether the child has sent what no prefork process sends. Its channel stays open, so that it does not
    /// take its master for dead, but is not read any more.
    is_muted: bool,
}

/// A child of this process. It is not reaped yet, so no other process has its pid.
#[derive(Debug)]
enum Handle {
    Started(Child),
    /// Started by the previous program in this process.
    Adopted(Pid),
    /// No process: a part of this one plays the child.
    Inside,
    /// Ordered of a template, which has not told its pid.
    Ordered,
}

impl Handle {
    fn id(&self) -> io::Result<Pid> {
        match self {
            Self::Started(child) => pid_of(child.id()),
            Self::Adopted(pid) => Ok(*pid),
            Self::Inside | Self::Ordered => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn signal(&self, signal: Number) -> io::Result<()> {
        Ok(kill(self.id()?, signal)?)
    }

    /// The status and the CPU time, if it has exited. User code may have reaped it (a hook that waits for any
    /// child): both are then unknown, except for the status that user code has left in the handle.
    fn try_wait(&mut self) -> io::Result<Option<(ExitStatus, Duration)>> {
        const UNKNOWN: i32 = 127 << 8;
        if matches!(self, Self::Inside | Self::Ordered) {
            return Ok(None);
        }
        match wait_for_exit(self.id()?) {
            Err(error) if is_reaped(&error) => {}
            ended => return ended,
        }
        let known = match self {
            Self::Started(child) => child.try_wait().ok().flatten(),
            Self::Adopted(_) | Self::Inside | Self::Ordered => None,
        };
        Ok(Some((known.unwrap_or(ExitStatus::from_raw(UNKNOWN)), Duration::ZERO)))
    }

    /// Kills it and reaps it.
    fn destroy(&mut self) {
        let _ = self.signal(Number::SIGKILL);
        match self {
            Self::Started(child) => drop(child.wait()),
            Self::Adopted(pid) => drop(waitpid(*pid, None)),
            Self::Inside | Self::Ordered => {}
        }
    }
}

impl<K: Ord + Copy> Reactor<K> {
    /// Takes over the signals that a master handles. Fails where it could not send any.
    pub(crate) fn new() -> io::Result<Self> {
        let retired = Arc::new(AtomicBool::new(false));
        // Where a sandbox forbids signals, no child could be ended.
        kill(pid_of(std::process::id())?, None)?;
        // Also replaces a SIGCHLD that was inherited as ignored, which would make waiting fail.
        let mut wanted = vec![SIGCHLD];
        let requests = || REQUESTS.iter().map(|(signal, _)| *signal).filter(|signal| !is_left_alone(*signal));
        for signal in requests() {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&retired))?;
            wanted.push(signal);
        }
        tell_signals_of_terminals_apart()?;
        let signals = listen_for(&wanted)?;
        let requested = SignalFlag::register(requests())?;
        survive_alarms()?;
        let children = BTreeMap::new();
        Ok(Self { signals, requested, children_ended: false, children, self_pipe: None, retired })
    }

    /// For other threads, to end a [`wait`](Self::wait).
    pub(crate) fn waker(&mut self) -> io::Result<Waker> {
        let self_pipe = match self.self_pipe.take() {
            Some(self_pipe) => self_pipe,
            None => SelfPipe::new()?,
        };
        Ok(self.self_pipe.insert(self_pipe).waker())
    }

    /// Takes over a child that the previous program in this process started.
    pub(crate) fn adopt(&mut self, key: K, pid: u32, channel: Option<Channel>) -> io::Result<()> {
        if let Some(channel) = &channel {
            channel.set_nonblocking()?;
        }
        self.children
            .insert(key, Process { handle: Handle::Adopted(pid_of(pid)?), channel, is_muted: false });
        Ok(())
    }

    /// Unblocks the signals that the previous program blocked, and reaps children that have ended meanwhile.
    pub(crate) fn catch_up(&mut self) -> io::Result<Vec<ProcessEvent<K>>> {
        SigSet::empty().thread_set_mask()?;
        self.take_ended()
    }

    /// The children that have ended by now, with their last messages, whether or not a signal has told of it yet.
    pub(crate) fn take_ended(&mut self) -> io::Result<Vec<ProcessEvent<K>>> {
        let mut events = Vec::new();
        self.reap(&mut events)?;
        Ok(events)
    }

    /// The channel to a child, while it is open.
    pub(crate) fn channel(&self, key: K) -> Option<&Channel> {
        self.children.get(&key)?.channel.as_ref()
    }

    /// Starts a child with what is handed over waiting on its standard input. A `producer` turns the finished
    /// command into a process. Returns its pid.
    pub(crate) fn spawn(
        &mut self,
        key: K,
        mut command: Command,
        producer: Option<&Producer<'_>>,
        handover: &Handover<'_>,
    ) -> io::Result<u32> {
        let (channel, theirs) = channel_with(handover)?;
        close_on_exec_from_3();
        let name = command.get_program().to_owned();
        let _blocked = block_for_child()?;
        let child = with_pin(&name, || match producer {
            Some(produce) => with_stdin(theirs, |theirs| {
                command.stdin(Stdio::from(theirs));
                produce(command)
            }),
            None => command.stdin(Stdio::from(theirs)).spawn(),
        })?;
        let pid = child.id();
        self.children
            .insert(key, Process { handle: Handle::Started(child), channel: Some(channel), is_muted: false });
        Ok(pid)
    }

    /// Orders a child of a template, with what is handed over waiting on its link. `order` is the line for the
    /// template. The child has no pid until [`note_pid`](Self::note_pid).
    pub(crate) fn order_fork(
        &mut self,
        template: K,
        key: K,
        order: &str,
        handover: &Handover<'_>,
    ) -> io::Result<()> {
        let (channel, theirs) = channel_with(handover)?;
        let template = self.children.get_mut(&template).and_then(|process| process.channel.as_mut());
        let template = template.ok_or(io::ErrorKind::NotConnected)?;
        template.send_end(order, theirs.as_fd())?;
        template.expect_line();
        self.children
            .insert(key, Process { handle: Handle::Ordered, channel: Some(channel), is_muted: false });
        Ok(())
    }

    /// Notes the pid of a child that was ordered, if it can be one: it is a child of this process, and no other key
    /// has it. Returns whether it is.
    pub(crate) fn note_pid(&mut self, key: K, pid: u32) -> bool {
        let Ok(pid) = pid_of(pid) else { return false };
        let is_known = self.children.values().any(|process| process.handle.id().is_ok_and(|id| id == pid));
        let Some(process) = self.children.get_mut(&key) else { return false };
        if is_known || !matches!(process.handle, Handle::Ordered) || !is_own_child(pid) {
            return false;
        }
        process.handle = Handle::Adopted(pid);
        // It may have ended before its pid was known.
        self.children_ended = true;
        true
    }

    /// Whether the other end of a child's channel is closed.
    pub(crate) fn channel_is_closed(&self, key: K) -> bool {
        self.children.get(&key).is_none_or(|process| process.channel.is_none())
    }

    /// Forgets a child that was ordered, and that there is none of.
    pub(crate) fn forget_order(&mut self, key: K) {
        if self.children.get(&key).is_some_and(|process| matches!(process.handle, Handle::Ordered)) {
            self.children.remove(&key);
        }
    }

    /// Kills and reaps a process, and forgets it.
    pub(crate) fn destroy(&mut self, key: K) {
        self.children.remove(&key).iter_mut().for_each(|process| process.handle.destroy());
    }

    /// Lets a part of this process play the child `key`. Returns the child's end of their channel.
    pub(crate) fn attach(&mut self, key: K) -> io::Result<Channel> {
        let (channel, theirs) = Channel::pair()?;
        channel.set_nonblocking()?;
        self.children
            .insert(key, Process { handle: Handle::Inside, channel: Some(channel), is_muted: false });
        Ok(Channel::to_master(UnixStream::from(theirs)))
    }

    /// Lets a child send one long line.
    pub(crate) fn expect_long_line(&mut self, key: K) {
        let channel = self.children.get_mut(&key).and_then(|process| process.channel.as_mut());
        channel.into_iter().for_each(Channel::expect_long_line);
    }

    /// Sends a line to a child. Does nothing if the child has closed its end.
    pub(crate) fn send(&mut self, key: K, line: &str) -> io::Result<()> {
        match self.children.get_mut(&key).and_then(|process| process.channel.as_mut()) {
            Some(channel) => channel.send(line, &[]),
            None => Ok(()),
        }
    }

    /// Ends a child that does not read messages yet: nothing catches the signal there. In others it is a
    /// request, which they have no need of.
    pub(crate) fn end_early(&mut self, key: K) -> io::Result<()> {
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
        for (key, process) in self.children.iter().filter(|(_, process)| !process.is_muted) {
            if let Some(channel) = &process.channel {
                keys.push(*key);
                descriptors.push(PollFd::new(channel.as_fd(), PollFlags::POLLIN));
            }
        }
        // It comes last, so that the others are in the order of their keys.
        descriptors
            .extend(self.self_pipe.iter().map(|self_pipe| PollFd::new(self_pipe.as_fd(), PollFlags::POLLIN)));
        let timeout = if self.children_ended { Some(Duration::ZERO) } else { timeout };
        match poll(&mut descriptors, poll_timeout(timeout)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let readable = descriptors[1..].iter().map(|descriptor| descriptor.any().unwrap_or(false));
        let readable: Vec<K> =
            keys.iter().zip(readable).filter(|(_, readable)| *readable).map(|(key, _)| *key).collect();
        let mut events = Vec::new();
        // Messages come before exits: a child may send one and exit.
        for key in readable {
            self.receive(key, &mut events);
        }
        self.take_signals(&mut events)?;
        if let Some(self_pipe) = &mut self.self_pipe {
            self_pipe.drain();
        }
        Ok(events)
    }

    /// Reads a bounded amount from a child: the rest is read in the next turn. Returns whether there was
    /// something.
    fn receive(&mut self, key: K, events: &mut Vec<ProcessEvent<K>>) -> bool {
        let process = self.children.get_mut(&key).filter(|process| !process.is_muted);
        let Some(process) = process else { return false };
        let Some(channel) = &mut process.channel else { return false };
        let received = channel.receive();
        // What came before a bad message counts as well.
        while let Some(line) = channel.next_line() {
            events.push(ProcessEvent::Message(key, line));
        }
        match received {
            Ok(Received::Bytes) => return true,
            Ok(Received::Nothing) => return false,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                process.is_muted = true;
                events.push(ProcessEvent::BadMessage(key, error.to_string()));
            }
            Ok(Received::End) | Err(_) => {
                process.channel = None;
                events.push(ProcessEvent::HungUp(key));
            }
        }
        false
    }

    /// The signals that have arrived since the last call of this or of [`wait`](Self::wait). Without any it
    /// makes no system call.
    #[expect(clippy::unnecessary_wraps, reason = "on Windows it can fail")]
    pub(crate) fn take_requests(&mut self) -> io::Result<Vec<Signal>> {
        Ok(if self.requested.take() { self.take_pending() } else { Vec::new() })
    }

    fn take_pending(&mut self) -> Vec<Signal> {
        let arrived: Vec<i32> = self.signals.pending().collect();
        self.children_ended |= arrived.contains(&SIGCHLD);
        // The flag is set before the signal is among those that have arrived.
        let of_terminal = take_signal_of_terminal();
        let requests = REQUESTS.iter().filter(|(number, _)| arrived.contains(number));
        let requests = requests.map(|(number, request)| match of_terminal {
            Some(signal) if signal as i32 == *number => Signal::OfTerminal(signal.as_str()),
            _ => *request,
        });
        requests.collect()
    }

    fn take_signals(&mut self, events: &mut Vec<ProcessEvent<K>>) -> io::Result<()> {
        events.extend(self.take_pending().into_iter().map(ProcessEvent::Signal));
        if std::mem::take(&mut self.children_ended) {
            self.reap(events)?;
        }
        Ok(())
    }

    /// Reaps every child that has exited: one SIGCHLD may stand for several.
    fn reap(&mut self, events: &mut Vec<ProcessEvent<K>>) -> io::Result<()> {
        let mut ended = Vec::new();
        for (key, process) in &mut self.children {
            if let Some((status, cpu)) = process.handle.try_wait()? {
                ended.push((*key, status, cpu));
            }
        }
        for (key, status, cpu) in ended {
            // Its last messages, if there are any. Its quota bounds them.
            while self.receive(key, events) {}
            self.children.remove(&key);
            events.push(ProcessEvent::Exited(key, status, cpu));
        }
        // A template may have forked a child whose pid is not known yet.
        let is_waited_for = |process: &Process| matches!(process.handle, Handle::Ordered);
        if std::process::id() == 1 && !self.children.values().any(is_waited_for) {
            let known: Vec<Pid> =
                self.children.values().filter_map(|process| process.handle.id().ok()).collect();
            platform::reactor::reap_orphans(&known);
        }
        Ok(())
    }
}

impl<K: Ord + Copy> Drop for Reactor<K> {
    /// Leaves no child behind, also after a panic.
    fn drop(&mut self) {
        for process in self.children.values_mut() {
            process.handle.destroy();
        }
        retire(&self.retired);
    }
}

/// A channel in which everything that is handed over waits, and its other end.
fn channel_with(
    Handover { handshake, listeners, secrets, memory }: &Handover<'_>,
) -> io::Result<(Channel, OwnedFd)> {
    let (mut channel, theirs) = Channel::pair()?;
    channel.set_nonblocking()?;
    channel.send(handshake, listeners)?;
    if !secrets.is_empty() {
        channel.send_secrets(secrets)?;
    }
    if let Some(memory) = memory {
        channel.send_memory(memory)?;
    }
    Ok((channel, theirs))
}

/// Gives signals their default effect again, after a while: tools send the request to stop twice, and the second must
/// not end a process that is about to exit with its own status.
fn retire(retired: &Arc<AtomicBool>) {
    let after_a_while = {
        let retired = Arc::clone(retired);
        move || {
            thread::sleep(RETIRE_AFTER);
            retired.store(true, Ordering::SeqCst);
        }
    };
    if spawn_thread("prefork-retire", after_a_while).is_err() {
        retired.store(true, Ordering::SeqCst);
    }
}

/// Runs `start` with `handshake` also as this process's own standard input: a producer that wraps the
/// command in another cannot move its standard input, but what it starts inherits the master's.
fn with_stdin<T>(handshake: OwnedFd, start: impl FnOnce(OwnedFd) -> io::Result<T>) -> io::Result<T> {
    let before = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(&handshake)?;
    let started = start(handshake);
    nix::unistd::dup2_stdin(before)?;
    started
}
