//! The master's event loop: signals by self-pipe, children by their links and by descriptors that tell their end. What
//! one event costs does not depend on the number of children.
//!
//! Where the system has no such descriptors, or none is left, SIGCHLD tells that one of the children has ended.

mod forks;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as Number, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};

use super::channel::{Channel, Received};
use super::child_process::{ChildProcess, Handle, channel_with, end_descriptor};
use super::descriptors::close_on_exec_from_3;
use super::platform;
use super::poller::Poller;
use super::process::pid_of;
use super::program::{with_pin, with_stdin};
use super::signals::{
    SignalFlag, Signals, block_for_child, is_left_alone, listen_for, retire, survive_alarms,
    take_signal_of_terminal, tell_signals_of_terminals_apart,
};
use super::waker::{SelfPipe, Waker};
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

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Reactor<K: Ord + Copy> {
    signals: Signals,
    requested: SignalFlag,
    /// Whether a SIGCHLD was taken and no child was reaped since.
    children_ended: bool,
    /// Whether orphans may have ended that are not reaped.
    orphans_ended: bool,
    poller: Poller<Watched<K>>,
    children: BTreeMap<K, ChildProcess>,
    /// Those of the children.
    pids: BTreeSet<Pid>,
    /// The children whose end is told by SIGCHLD alone.
    without_descriptor: BTreeSet<K>,
    /// The children whose pid is not known, and the template that is about to fork each.
    ordered: BTreeMap<K, K>,
    /// Templates that have ended and are not reaped: what they have forked may have no known pid.
    ended_templates: BTreeMap<K, Pid>,
    /// What [`Waker`]s write to, if there are any.
    self_pipe: Option<SelfPipe>,
    /// Set after the reactor is dropped: signals then have their default effect again.
    retired: Arc<AtomicBool>,
}

/// What the reactor waits for.
#[derive(Debug, Clone, Copy)]
enum Watched<K> {
    Signals,
    Waker,
    /// A message of this child.
    Link(K),
    /// The end of this child.
    End(K),
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
        let mut poller = Poller::new()?;
        poller.add(signals.get_read(), Watched::Signals)?;
        Ok(Self {
            signals,
            requested,
            children_ended: false,
            orphans_ended: false,
            poller,
            children: BTreeMap::new(),
            pids: BTreeSet::new(),
            without_descriptor: BTreeSet::new(),
            ordered: BTreeMap::new(),
            ended_templates: BTreeMap::new(),
            self_pipe: None,
            retired,
        })
    }

    /// For other threads, to end a [`wait`](Self::wait).
    pub(crate) fn waker(&mut self) -> io::Result<Waker> {
        if let Some(self_pipe) = &self.self_pipe {
            return Ok(self_pipe.waker());
        }
        let self_pipe = SelfPipe::new()?;
        self.poller.add(&self_pipe, Watched::Waker)?;
        Ok(self.self_pipe.insert(self_pipe).waker())
    }

    /// Takes over a child that the previous program in this process started.
    pub(crate) fn adopt(&mut self, key: K, pid: u32, channel: Option<Channel>) -> io::Result<()> {
        let pid = pid_of(pid)?;
        if let Some(channel) = &channel {
            channel.set_nonblocking()?;
            self.poller.add(channel, Watched::Link(key))?;
        }
        self.insert(key, Handle::Pid(pid), channel);
        Ok(())
    }

    /// Unblocks the signals that the previous program blocked. Returns what has happened meanwhile; first which children
    /// have ended.
    pub(crate) fn catch_up(&mut self) -> io::Result<Vec<ProcessEvent<K>>> {
        SigSet::empty().thread_set_mask()?;
        let mut events = self.take_ended()?;
        events.extend(self.wait(Some(Duration::ZERO))?);
        Ok(events)
    }

    /// The children that have ended by now, with their last messages, whether or not a signal has told of it yet.
    pub(crate) fn take_ended(&mut self) -> io::Result<Vec<ProcessEvent<K>>> {
        let mut events = Vec::new();
        self.reap(self.children.keys().copied().collect(), &mut events)?;
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
        let started = self.poller.add_while(&channel, Watched::Link(key), || {
            let _blocked = block_for_child()?;
            with_pin(&name, || match producer {
                Some(produce) => with_stdin(theirs, |theirs| {
                    command.stdin(Stdio::from(theirs));
                    produce(command)
                }),
                None => command.stdin(Stdio::from(theirs)).spawn(),
            })
        })?;
        let pid = started.id();
        self.insert(key, Handle::Started(started), Some(channel));
        Ok(pid)
    }

    /// Kills and reaps a process, and forgets it.
    pub(crate) fn destroy(&mut self, key: K) {
        if let Some(process) = self.children.get_mut(&key) {
            process.handle.destroy();
            self.forget(key);
        }
    }

    /// Adds a child whose channel, if it has one, is waited for.
    fn insert(&mut self, key: K, handle: Handle, channel: Option<Channel>) {
        self.children.insert(key, ChildProcess { handle, channel, end: None, is_muted: false });
        self.watch_end(key);
    }

    /// Waits for the end of a child from now on. It may have come.
    fn watch_end(&mut self, key: K) {
        let Some(process) = self.children.get_mut(&key) else { return };
        let Ok(pid) = process.handle.id() else { return };
        self.pids.insert(pid);
        let end = end_descriptor(pid).filter(|end| self.poller.add(end, Watched::End(key)).is_ok());
        if end.is_none() {
            self.without_descriptor.insert(key);
            self.children_ended = true;
        }
        process.end = end;
    }

    /// Forgets a child.
    fn forget(&mut self, key: K) {
        let Some(process) = self.children.remove(&key) else { return };
        if let Ok(pid) = process.handle.id() {
            self.pids.remove(&pid);
        }
        process.channel.iter().for_each(|channel| self.poller.remove(channel));
        process.end.iter().for_each(|end| self.poller.remove(end));
        self.without_descriptor.remove(&key);
    }

    /// Lets a part of this process play the child `key`. Returns the child's end of their channel.
    pub(crate) fn attach(&mut self, key: K) -> io::Result<Channel> {
        let (channel, theirs) = Channel::pair()?;
        channel.set_nonblocking()?;
        self.poller.add(&channel, Watched::Link(key))?;
        self.insert(key, Handle::Inside, Some(channel));
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

    /// Waits until something happens, or for `timeout`. May return nothing. Returns all that had happened at the time of
    /// the call.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<ProcessEvent<K>>> {
        let timeout = if self.children_ended { Some(Duration::ZERO) } else { timeout };
        let (mut readable, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for ready in self.poller.wait(timeout)? {
            match ready {
                Watched::Link(key) => drop(readable.insert(key)),
                Watched::End(key) => drop(ended.insert(key)),
                Watched::Waker => self.self_pipe.iter_mut().for_each(SelfPipe::drain),
                Watched::Signals => {}
            }
        }
        let mut events = Vec::new();
        // Messages come before exits: a child may send one and exit.
        for key in readable {
            self.receive_all(key, &mut events);
        }
        events.extend(self.take_pending().into_iter().map(ProcessEvent::Signal));
        let told_by_signal = std::mem::take(&mut self.children_ended);
        if told_by_signal {
            ended.extend(&self.without_descriptor);
        }
        self.reap(ended.clone(), &mut events)?;
        ended.into_iter().for_each(|key| self.tell_end_by_signal(key));
        self.orphans_ended |= told_by_signal;
        self.reap_forked();
        self.reap_orphans();
        Ok(events)
    }

    /// Reads what a child has sent. Its quota bounds that.
    fn receive_all(&mut self, key: K, events: &mut Vec<ProcessEvent<K>>) {
        while self.receive(key, events) {}
    }

    /// Reads some of it. Returns whether there may be more.
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
                self.poller.remove(channel);
                events.push(ProcessEvent::BadMessage(key, error.to_string()));
            }
            Ok(Received::End) | Err(_) => {
                self.poller.remove(channel);
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

    /// Reaps those of these children that have exited.
    fn reap(&mut self, keys: BTreeSet<K>, events: &mut Vec<ProcessEvent<K>>) -> io::Result<()> {
        for key in keys {
            let ended = match self.end_of_template(key)? {
                Some(status) => Some((status, Duration::ZERO)),
                None => self.try_wait(key)?,
            };
            if let Some((status, cpu)) = ended {
                // Its last messages, if there are any.
                self.receive_all(key, events);
                self.forget(key);
                events.push(ProcessEvent::Exited(key, status, cpu));
            }
        }
        Ok(())
    }

    fn try_wait(&mut self, key: K) -> io::Result<Option<(ExitStatus, Duration)>> {
        self.children.get_mut(&key).map_or(Ok(None), |process| process.handle.try_wait())
    }

    /// A child that has ended and cannot be reaped is traced by another process, which the system tells first. Its
    /// descriptor stays readable meanwhile.
    fn tell_end_by_signal(&mut self, key: K) {
        if let Some(end) = self.children.get_mut(&key).and_then(|process| process.end.take()) {
            self.poller.remove(&end);
            self.without_descriptor.insert(key);
        }
    }

    /// Reaps the processes of others that are this process's because it is PID 1.
    fn reap_orphans(&mut self) {
        // A template may have forked a child whose pid is not known yet.
        let unknown = !self.ordered.is_empty() || !self.ended_templates.is_empty();
        if self.orphans_ended && !unknown && std::process::id() == 1 {
            self.orphans_ended = false;
            platform::reactor::reap_orphans(&self.pids);
        }
    }
}

impl<K: Ord + Copy> Drop for Reactor<K> {
    /// Leaves no child behind, also after a panic.
    fn drop(&mut self) {
        let templates: BTreeSet<K> = self.ordered.values().copied().collect();
        for template in templates {
            self.destroy_template(template);
        }
        for process in self.children.values_mut() {
            process.handle.destroy();
        }
        self.destroy_forked();
        retire(&self.retired);
    }
}
