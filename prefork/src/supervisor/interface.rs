//! What the supervisor and its driver exchange: events, actions, settings.

use std::time::Duration;

use super::RecoverPolicy;

/// Identifies one child process. Never reused, unlike a slot or a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildId(pub(crate) u64);

/// Why a child is replaced that has not failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecycleReason {
    /// It has reached `max_lifetime`.
    Lifetime,
    /// It has grown beyond `max_rss`.
    Size,
    /// Its program asked for it.
    Retired,
    /// It received SIGTERM.
    Signalled,
    /// An operator asked for it.
    Operator,
}

/// How a child exited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With status 0.
    Clean,
    /// With another status.
    Failed,
    /// A signal ended it.
    Signalled,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A `Spawn` action was carried out.
    Spawned { child: ChildId, pid: u32 },
    /// A `Spawn` action could not be carried out; `transient` if it may work later.
    SpawnFailed { child: ChildId, transient: bool },
    /// A child whose `Spawn` action was taken back with `Withdraw` is not started.
    Withdrawn(ChildId),
    /// Children of this generation can be started, which could not before.
    TemplateReady { generation: u32 },
    /// The child said that it is ready.
    Ready(ChildId),
    /// The child asked to be replaced.
    RecycleRequested(ChildId, RecycleReason),
    /// The child is gone.
    Exited { child: ChildId, exit: Exit },
    /// The process that was started as a child did not take the handshake, and cannot any more.
    HandshakeRefused(ChildId),
    /// The child has closed its end of the link. It may be about to exit.
    LinkClosed(ChildId),
    /// The child sent what no prefork process sends.
    LinkAbused(ChildId),
    /// The child asks to become the leader.
    Candidate(ChildId),
    /// The child is the leader no more: it has given that up, or could not be told.
    Resigned(ChildId),
    /// The driver has told the child to stop, maybe a while after that was decided.
    StopOrdered(ChildId),
    /// The driver has performed `RefuseConnections`, maybe a while after that was decided.
    ConnectionsRefused,
    /// The child's watchdog is about to end it.
    Hangs(ChildId),
    /// The child that checks the new program has answered, and what the program needs is prepared.
    Checked(ChildId),
    /// What the new program needs could not be prepared, for a reason that is logged.
    UpgradeRefused,
    /// A hook returned an error or panicked.
    HookFailed,
    /// An `Exec` action could not be carried out.
    ExecFailed,
    /// An answer to `AskCanary`: the new children are no good. Other answers are requests, or none.
    CanaryRefused,
    /// No connection waits to be accepted, or none can be waited for: the answer to `CheckQueues`.
    QueuesEmpty,
    /// Options have other values.
    SettingsChanged(Settings),
    /// A request from outside the fleet.
    Request(Request),
    /// A request to reload or to upgrade, for which the driver lacks what it needs.
    Refused(Request),
    /// The time of [`Supervisor::next_deadline`] has passed.
    DeadlinePassed,
}

/// What an operator can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Stop gracefully; asked again later: at once.
    Stop,
    /// Stop at once.
    Quit,
    /// Replace every child, new before old, with the canary of the options. A child started from here on is of a
    /// new generation.
    Reload,
    /// The same, with another canary.
    ReloadWith(CanaryChoice),
    /// Complete the reload that holds.
    Promote,
    /// Restore the generation from before the reload that holds.
    Rollback,
    /// Replace the master's program, and then every child.
    Upgrade,
    /// One slot more.
    Grow,
    /// One slot fewer; the last one stays.
    Shrink,
    /// So many slots.
    Resize(usize),
}

/// What one reload does otherwise than the options say. `None`: as they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CanaryChoice {
    /// The number of children after which it holds; 0: it does not hold.
    pub(crate) children: Option<usize>,
    /// How long it holds.
    pub(crate) hold: Option<Duration>,
}

/// Why there is nothing to promote or to roll back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotHeld {
    /// No reload with a canary is under way.
    NoCanary,
    /// A reload without a canary has taken its place.
    PlainReload,
    /// An upgrade has interrupted it.
    Upgrade,
}

/// Why a reload is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RollbackReason {
    /// An operator asked for it.
    Requested,
    /// A new child of this slot failed.
    Failed { slot: usize },
    /// The slots of the new children were removed.
    Removed,
    /// The program asked for it, or its hook failed.
    Program,
}

/// What the driver has to do. It performs actions in order, each before it asks for the next, and all of them before it
/// waits for events; only starts may wait for a later turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a child for the slot; answered by `Spawned` or `SpawnFailed`, maybe later.
    Spawn { child: ChildId, slot: usize, generation: u32 },
    /// Do not start the child, if that has not begun; answered by `Withdrawn`, `Spawned` or `SpawnFailed`.
    Withdraw(ChildId),
    /// Ask the child to stop.
    Terminate(ChildId),
    /// Ask the child to stop: its slot is gone.
    StopAfterQueue(ChildId),
    /// Kill the child.
    Kill(ChildId),
    /// Kill the child because its link is closed or abused. Its exit is a failure.
    KillFailed(ChildId),
    /// Tell the child that it is the leader; answered by `Resigned` if that fails.
    Lead(ChildId),
    /// Ask the leader to give that up.
    Resign(ChildId),
    /// Tell the child that the fleet will stop soon.
    AnnounceStop(ChildId),
    /// The last slot is gone: close its own socket, if there is one, once no child uses it.
    CloseSlot,
    /// Refuse new connections.
    RefuseConnections,
    /// Check whether every connection made before that is accepted; answered by `QueuesEmpty` if so.
    CheckQueues,
    /// Close the master's own listeners: no further child is started.
    CloseListeners,
    /// Execute the new program in this process; answered by `ExecFailed`, or not at all.
    Exec,
    /// A hold has begun about which the program is asked.
    WatchCanary,
    /// Ask the program about the new children; answered by `CanaryRefused`, by a request to promote, or not at all.
    AskCanary,
    /// Call a hook; answered by `HookFailed` or nothing.
    Hook(Hook),
    /// Write a message to the log.
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

/// A log message about a decision of the supervisor, which the driver cannot see for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remark {
    /// The slot's next child is started after a delay.
    RespawnIn { slot: usize, delay: Duration },
    /// The slot's child could not be started, and further attempts follow, each after a longer delay.
    StartRetried { slot: usize },
    /// The child was not ready within the start timeout.
    BootTimeout(ChildId),
    /// The child did not stop within grace.
    GraceOver(ChildId),
    /// The child has closed its end of the link, and has not exited.
    LinkClosed(ChildId),
    /// A stop was requested; it begins after a delay, and until then the fleet accepts.
    StoppingIn(Duration),
    /// A graceful stop has begun.
    Stopping,
    /// The stop continues, although connections are still queued.
    NotEmptied,
    /// Children are killed without grace, on request.
    StoppingAtOnce,
    /// Every child is being replaced.
    Reloading { generation: u32 },
    /// The same, at first so many of them: the reload has a canary.
    ReloadingCanary { generation: u32, children: usize },
    /// So many of the children are new, and the others wait for the end of the hold.
    Holding { generation: u32, children: usize, of: usize, hold: Option<Duration> },
    /// The other children are being replaced as well.
    Promoted { generation: u32 },
    /// So many children of this generation are replaced by children of the generation before.
    RollingBack { generation: u32, children: usize, reason: RollbackReason },
    /// Every child is of the generation before again.
    RolledBack { generation: u32 },
    /// A child of the generation before failed to become ready; the new one stays until another attempt.
    RestoringFailed { slot: usize, again_in: Duration },
    /// There is nothing to promote or to roll back.
    NothingHeld(Request, NotHeld),
    /// The reload that an upgrade had interrupted continues.
    ReloadResumed { generation: u32 },
    /// Every child has been replaced.
    Reloaded { generation: u32 },
    /// A new child failed to become ready; `replaced` of `of` slots have a new child, the others
    /// keep the old one.
    ReloadAborted { slot: usize, replaced: usize, of: usize },
    /// Another reload was requested, which takes the place of the one under way.
    ReloadReplaced { generation: u32 },
    /// A child that checks a new program is started.
    Upgrading { generation: u32 },
    /// It did not answer.
    CheckFailed,
    /// The trial child did not become ready.
    TrialFailed,
    /// The exec failed, or a stop was requested before it.
    UpgradeAborted,
    /// A reload or an upgrade was requested, which takes the place of the upgrade under way.
    UpgradeReplaced,
    /// A child is being replaced.
    Recycling { child: ChildId, reason: RecycleReason },
    /// Its replacement failed to become ready; it stays.
    RecyclingFailed { slot: usize },
    /// The number of slots changed.
    Resized { from: usize, to: usize },
    /// New slots are removed again, because a child of theirs could not be started.
    GrowUndone { slot: usize, from: usize, to: usize },
    /// The fleet has its least or its greatest size already.
    NotResized(usize),
    /// An event that cannot happen here: a bug in the driver or in this module.
    Unexpected(Event),
}

impl Remark {
    /// Whether the driver updates what follows from the state of the fleet before it logs this: then no new connection
    /// goes to that slot, what was opened for the upgrade is closed, and a slot that is added again says again why it
    /// cannot be started.
    pub(crate) fn is_logged_after_an_update(&self) -> bool {
        matches!(
            self,
            Self::RespawnIn { .. }
                | Self::GrowUndone { .. }
                | Self::TrialFailed
                | Self::UpgradeAborted
                | Self::UpgradeReplaced
        )
    }
}

/// Why the fleet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A stop was requested.
    Stopped,
    /// The recover policy was exceeded.
    OverRecovery { failures: u32 },
    /// A hook failed.
    HookFailed,
    /// A child could not be started: at the start for a lasting reason, later for too long.
    SpawnFailed,
}

/// The options that the supervisor needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Number of slots at the start, and after a change.
    pub(crate) workers: usize,
    /// Greatest number of slots.
    pub(crate) most_workers: usize,
    pub(crate) recover: RecoverPolicy,
    /// Time a child has to stop before it is killed.
    pub(crate) grace: Duration,
    /// Time a child has to become ready before it is killed.
    pub(crate) start_timeout: Duration,
    /// Time during which the fleet accepts after a stop was requested.
    pub(crate) stop_delay: Duration,
    /// Number of slots that a reload replaces at the same time.
    pub(crate) reload_parallel: usize,
    /// Age at which a child is replaced.
    pub(crate) max_lifetime: Option<Duration>,
    /// Number of children after which a reload holds; 0: it does not hold.
    pub(crate) canary: usize,
    /// How long it holds; `None` is until it is promoted or rolled back.
    pub(crate) hold: Option<Duration>,
    /// Whether the program is asked about new children while a reload holds.
    pub(crate) asks_canary: bool,
}
