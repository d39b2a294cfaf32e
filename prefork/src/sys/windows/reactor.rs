//! The master's event loop: a queue that threads fill. There is one thread for each child and one for
//! requests, and the system starts threads for the console's events. None of them decides anything.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::channel::{Channel, HANDED, MEMORY, REFUSED, WANTED};
use super::child_thread::{self, Report};
use super::controls::Controls;
use super::job::Job;
use super::pipe::Pipe;
use super::{console, object, role, socket, usage};
use crate::sys::{Handover, ProcessEvent, Producer, SharedMemory, Signal};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Reactor<K: Ord + Copy> {
    reports: Receiver<Report<K>>,
    sender: Sender<Report<K>>,
    children: BTreeMap<K, Process>,
    /// What [`Reactor::take_requests`] met in the queue.
    waiting: Vec<ProcessEvent<K>>,
    job: Job,
    _controls: Option<Controls>,
}

#[derive(Debug)]
struct Process {
    handle: Handle,
    /// `None` once the child has closed its end.
    sender: Option<Pipe>,
    /// The listeners, until the child has them.
    listeners: Vec<Socket>,
    memory: Option<SharedMemory>,
    handed_over: bool,
}

#[derive(Debug)]
enum Handle {
    Started(Child),
    /// No process: a part of this one plays the child. The event ends the thread that reads its messages.
    Inside(OwnedHandle),
}

impl Handle {
    fn kill(&mut self) -> io::Result<()> {
        match self {
            Self::Started(child) => child.kill(),
            Self::Inside(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Process {
    /// Sends a line. Does nothing if the child has closed its end.
    fn send(&self, line: &str) -> io::Result<()> {
        self.sender.as_ref().map_or(Ok(()), |sender| sender.send(line))
    }

    /// Gives the child its listeners, the shared memory, and a handle to the job; `pid` is the one that it has
    /// sent.
    fn hand_over(&self, pid: &str, job: &Job) -> io::Result<()> {
        let pid = pid.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a pid"))?;
        job.entrust_to(pid)?;
        let mut line = HANDED.to_owned();
        for listener in &self.listeners {
            line.push(' ');
            line.push_str(&socket::export(listener, pid)?);
        }
        self.send(&line)?;
        // No handle has the number 0. The child then goes on without the memory.
        let export = |memory: &SharedMemory| memory.export(pid).unwrap_or_else(|_| "0".to_owned());
        self.memory.as_ref().map_or(Ok(()), |memory| self.send(&format!("{MEMORY}{}", export(memory))))
    }

    /// Kills it and waits for its exit.
    fn destroy(&mut self) {
        match &mut self.handle {
            Handle::Started(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Handle::Inside(over) => drop(object::set(over)),
        }
    }
}

impl<K: Ord + Copy + Send + 'static> Reactor<K> {
    /// Takes over the requests that a master handles.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, reports) = mpsc::channel();
        let tell = |sender: Sender<Report<K>>| move |signal| drop(sender.send(Report::Signal(signal)));
        // A sandbox may forbid the events; the console remains.
        let controls = Controls::listen(tell(sender.clone())).ok();
        console::listen(tell(sender.clone()))?;
        let (children, waiting) = (BTreeMap::new(), Vec::new());
        Ok(Self { reports, sender, children, waiting, job: Job::new()?, _controls: controls })
    }

    /// For other threads, to end a [`wait`](Self::wait).
    pub(crate) fn waker(&mut self) -> io::Result<Waker> {
        let sender = self.sender.clone();
        // Fails once the reactor is dropped.
        Ok(Waker { wake: Arc::new(move || drop(sender.send(Report::Woken))) })
    }

    /// Unsupported: no program runs in this process before this one.
    pub(crate) fn adopt(&mut self, _key: K, _pid: u32, _channel: Option<Channel>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Nothing: no program runs in this process before this one.
    pub(crate) fn catch_up(&mut self) -> io::Result<Vec<ProcessEvent<K>>> {
        Ok(Vec::new())
    }

    /// None: no other program takes the channels over.
    pub(crate) fn channel(&self, _key: K) -> Option<&Channel> {
        None
    }

    /// Does nothing: no child here has a long line to send.
    #[expect(clippy::unused_self, reason = "elsewhere it has an effect")]
    pub(crate) fn expect_long_line(&mut self, _key: K) {}

    /// Starts a child with `handshake` waiting on its standard input, and `listeners` ready for when it asks.
    /// A `producer` turns the finished command into a process. Secrets are not passed. Returns its pid.
    pub(crate) fn spawn(
        &mut self,
        key: K,
        mut command: Command,
        producer: Option<&Producer<'_>>,
        Handover { handshake, listeners, memory, secrets: _ }: &Handover<'_>,
    ) -> io::Result<u32> {
        let (channel, theirs) = Channel::pair()?;
        let sender = channel.pipe()?;
        sender.send(handshake)?;
        let listeners = listeners.iter().map(|listener| listener.try_clone()).collect::<io::Result<_>>()?;
        let memory = memory.map(SharedMemory::try_clone).transpose()?;
        command.stdin(theirs.try_clone()?);
        let child = match producer {
            Some(produce) => role::with_stdin(&theirs, || produce(command))?,
            None => command.spawn()?,
        };
        drop(theirs);
        let pid = child.id();
        let enclosed = self.job.enclose(child.as_handle());
        let handle = enclosed.and_then(|()| child.as_handle().try_clone_to_owned());
        let handle_of_child = Handle::Started(child);
        let mut process =
            Process { handle: handle_of_child, sender: Some(sender), listeners, memory, handed_over: false };
        match handle.and_then(|handle| child_thread::start(key, channel, handle, self.sender.clone())) {
            Ok(()) => {
                self.children.insert(key, process);
                Ok(pid)
            }
            Err(error) => {
                process.destroy();
                Err(error)
            }
        }
    }

    /// Lets a part of this process play the child `key`. Returns the child's end of their channel.
    pub(crate) fn attach(&mut self, key: K) -> io::Result<Channel> {
        let (channel, theirs) = Channel::pair()?;
        let (sender, over) = (Some(channel.pipe()?), object::event()?);
        child_thread::start(key, channel, over.try_clone()?, self.sender.clone())?;
        let listeners = Vec::new();
        self.children.insert(
            key,
            Process { handle: Handle::Inside(over), sender, listeners, memory: None, handed_over: true },
        );
        Channel::to_master(Pipe::new(theirs))
    }

    /// Sends a line to a child. Does nothing if the child has closed its end.
    pub(crate) fn send(&mut self, key: K, line: &str) -> io::Result<()> {
        self.children.get(&key).map_or(Ok(()), |process| process.send(line))
    }

    /// Ends a child that does not read messages yet: one that has not asked for its listeners.
    pub(crate) fn end_early(&mut self, key: K) -> io::Result<()> {
        let Some(process) = self.children.get_mut(&key) else { return Ok(()) };
        if process.handed_over { Ok(()) } else { process.handle.kill() }
    }

    /// Kills a child.
    pub(crate) fn kill(&mut self, key: K) -> io::Result<()> {
        self.children.get_mut(&key).map_or(Ok(()), |process| process.handle.kill())
    }

    /// Waits until something happens, or for `timeout`. May return nothing.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<ProcessEvent<K>>> {
        let timeout = if self.waiting.is_empty() { timeout } else { Some(Duration::ZERO) };
        // The queue always has a sender: this reactor's.
        let first = match timeout {
            Some(timeout) => self.reports.recv_timeout(timeout).ok(),
            None => self.reports.recv().ok(),
        };
        let reports: Vec<Report<K>> = first.into_iter().chain(self.reports.try_iter()).collect();
        let mut events = std::mem::take(&mut self.waiting);
        for report in reports {
            events.extend(self.note(report)?);
        }
        Ok(events)
    }

    /// What has happened by now, among that the children that have ended.
    pub(crate) fn take_ended(&mut self) -> io::Result<Vec<ProcessEvent<K>>> {
        self.wait(Some(Duration::ZERO))
    }

    /// The requests that have arrived since the last call of this or of [`wait`](Self::wait). What else has
    /// arrived is left for `wait`.
    pub(crate) fn take_requests(&mut self) -> io::Result<Vec<Signal>> {
        let mut requests = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            match self.note(report)? {
                Some(ProcessEvent::Signal(signal)) => requests.push(signal),
                event => self.waiting.extend(event),
            }
        }
        Ok(requests)
    }

    fn note(&mut self, report: Report<K>) -> io::Result<Option<ProcessEvent<K>>> {
        Ok(match report {
            Report::Signal(signal) => Some(ProcessEvent::Signal(signal)),
            Report::Woken => None,
            Report::Line(key, line) => match line.strip_prefix(WANTED) {
                Some(pid) => {
                    self.hand_over(key, pid);
                    None
                }
                None => {
                    self.drop_listeners(key);
                    Some(ProcessEvent::Message(key, line))
                }
            },
            Report::HungUp(key) => {
                if let Some(process) = self.children.get_mut(&key) {
                    process.sender = None;
                }
                Some(ProcessEvent::HungUp(key))
            }
            Report::BadMessage(key, reason) => Some(ProcessEvent::BadMessage(key, reason)),
            Report::Exited(key) => match self.children.remove(&key).map(|process| process.handle) {
                Some(Handle::Started(mut child)) => {
                    let status = child.wait()?;
                    let cpu = usage::cpu_time(child.as_handle()).unwrap_or_default();
                    Some(ProcessEvent::Exited(key, status, cpu))
                }
                Some(Handle::Inside(_)) | None => None,
            },
        })
    }
}

impl<K: Ord + Copy> Reactor<K> {
    /// Answers a child that asks for its listeners.
    fn hand_over(&mut self, key: K, pid: &str) {
        let Some(process) = self.children.get_mut(&key) else { return };
        process.handed_over = true;
        if let Err(error) = process.hand_over(pid, &self.job) {
            // The child reports it. A failure to send means that the child has closed its end.
            let _ = process.send(&format!("{REFUSED}: {error}"));
        }
    }

    /// A child that sends a message after the answer has opened its listeners.
    fn drop_listeners(&mut self, key: K) {
        if let Some(process) = self.children.get_mut(&key).filter(|process| process.handed_over) {
            process.listeners.clear();
        }
    }
}

impl<K: Ord + Copy> Drop for Reactor<K> {
    /// Leaves no child behind, also after a panic.
    fn drop(&mut self) {
        for process in self.children.values_mut() {
            process.destroy();
        }
        console::restore();
    }
}

/// See [`Reactor::waker`].
#[derive(Clone)]
pub(crate) struct Waker {
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Waker {
    pub(crate) fn wake(&self) {
        (self.wake)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// Nothing: there are no signals here.
pub(crate) fn raise_stop_signal() {}

/// There is no such signal here.
pub(crate) fn ignores_hangup() -> bool {
    false
}

/// Nothing: consoles send no signals to processes that write to them.
#[derive(Debug)]
pub(crate) struct TerminalGuard;

impl TerminalGuard {
    pub(crate) fn begin() -> Self {
        Self
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {}
}

/// Nothing: no program is executed in this process after this one.
#[derive(Debug)]
pub(crate) struct HeldSignals;

impl HeldSignals {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn begin() -> io::Result<Self> {
        Ok(Self)
    }
}

/// Starts a thread. There are no signals to block here.
pub(crate) fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}
