//! The words in which the supervisor and its driver speak.

use std::time::Duration;

use super::RecoverPolicy;

/// One child process, ever: never reused, unlike its slot and its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildId(pub(crate) u64);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A `Spawn` action was carried out.
    Spawned { child: ChildId, pid: u32 },
    /// A `Spawn` action could not be carried out; `transient` if it may work later.
    SpawnFailed { child: ChildId, transient: bool },
    /// The child said that it is ready.
    Ready(ChildId),
    /// The child asked to be replaced: it has grown too large.
    RecycleRequested(ChildId),
    /// The child is gone; `clean` if its status was 0.
    Exited { child: ChildId, clean: bool },
    /// What was started as a child is none, and never will be.
    HandshakeRefused(ChildId),
    /// A hook returned an error or panicked.
    HookFailed,
    /// An `Exec` action could not be carried out.
    ExecFailed,
    /// Nobody waits any more to be accepted, or nobody can be waited for: the answer to `CheckQueues`.
    QueuesEmpty,
    /// Somebody outside wants something.
    Request(Request),
    /// The time of [`Supervisor::next_deadline`] has come.
    DeadlinePassed,
}

/// What an operator can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Stop gracefully; asked twice: at once.
    Stop,
    /// Stop at once.
    Quit,
    /// Replace every child, new before old. A child started from here on is of a new generation.
    Reload,
    /// Replace the master's program, and then every child.
    Upgrade,
    /// One slot more.
    Grow,
    /// One slot fewer; the last one stays.
    Shrink,
    /// So many slots.
    Resize(usize),
}

/// What is to be done. The driver performs actions in order, each before it asks for the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a child for the slot; answered by `Spawned` or `SpawnFailed`.
    Spawn { child: ChildId, slot: usize, generation: u32 },
    /// Ask the child to stop.
    Terminate(ChildId),
    /// Ask the child to stop once nothing waits on its slot's own socket any more.
    StopAfterQueue(ChildId),
    /// Kill the child.
    Kill(ChildId),
    /// Tell the child that the fleet will stop soon.
    AnnounceStop(ChildId),
    /// The last slot is gone: close its socket, if it has one of its own, when nobody uses it any more.
    CloseSlot,
    /// Let nobody connect any more.
    RefuseConnections,
    /// See whether whoever connected before that is accepted by now; answered by `Emptied` if so.
    CheckQueues,
    /// Close the master's own listeners: no child will follow.
    CloseListeners,
    /// Execute the new program in this process; answered by `ExecFailed` or by nobody, ever.
    Exec,
    /// Call a hook; answered by `HookFailed` or nothing.
    Hook(Hook),
    /// Tell the operator.
    Log(Remark),
    /// No child is left: return.
    Finish(Verdict),
}

/// A hook call and its arguments, which are pids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hook {
    ChildSpawn(u32),
    MasterReady(Vec<u32>),
    ChildRecover { old: u32, new: u32 },
}

/// Something worth a line in the log that the driver cannot see for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remark {
    /// The slot will be filled again, after a delay.
    RespawnIn { slot: usize, delay: Duration },
    /// The child was not ready in time.
    BootTimeout(ChildId),
    /// The child did not stop within grace.
    GraceOver(ChildId),
    /// The fleet still accepts, and stops after a delay.
    StoppingIn(Duration),
    /// A graceful stop has begun.
    Stopping,
    /// It goes on, although connections wait that no child has accepted.
    NotEmptied,
    /// Children are killed without grace, because somebody asked for it.
    StoppingAtOnce,
    /// Every child is being replaced.
    Reloading { generation: u32 },
    /// Every child has been replaced.
    Reloaded { generation: u32 },
    /// A new child failed to become ready; `replaced` of `of` slots have a new child, the others
    /// keep the old one.
    ReloadAborted { slot: usize, replaced: usize, of: usize },
    /// A trial child of a new program is started.
    Upgrading { generation: u32 },
    /// It did not become ready, or the exec failed.
    UpgradeAborted,
    /// A child is being replaced because of its age or its size.
    Recycling { slot: usize },
    /// Its replacement failed to become ready; it stays.
    RecyclingFailed { slot: usize },
    /// The fleet has another size.
    Resized { from: usize, to: usize },
    /// The fleet cannot be smaller or larger.
    NotResized(usize),
    /// An event that cannot happen here: a bug in the driver or in this module.
    Unexpected(Event),
}

/// Why the fleet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was asked to.
    Stopped,
    /// The recover policy was exceeded.
    OverRecovery { failures: u32 },
    /// A hook failed.
    HookFailed,
    /// A child could not be started, and trying again cannot help.
    SpawnFailed,
}

/// What the supervisor needs to know of the options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How many slots there are at first.
    pub(crate) workers: usize,
    /// No fleet grows beyond this.
    pub(crate) most_workers: usize,
    pub(crate) recover: RecoverPolicy,
    /// How long a stopping child may take.
    pub(crate) grace: Duration,
    /// How long a starting child may take.
    pub(crate) start_timeout: Duration,
    /// How long the fleet goes on accepting after it was asked to stop.
    pub(crate) stop_delay: Duration,
    /// How many slots are replaced at the same time.
    pub(crate) reload_parallel: usize,
    /// How old a child may become.
    pub(crate) max_lifetime: Option<Duration>,
}
