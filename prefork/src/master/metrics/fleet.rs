//! The fleet's own metrics. The guide lists them, in `docs/metrics.md`.

use std::time::{Duration, SystemTime};

use super::exposition::{Exposition, MetricKind, Number, Samples};
use super::history::{HistoryView, LastChange, since_epoch};
use crate::listen::ListenerQueues;
use crate::master::templates::TemplateStatus;
use crate::supervisor::{
    ChangeResult, ChildState, FailureCause, FleetState, FleetStatus, RecycleReason, StartReason, Tally,
    TemplateState,
};
use crate::sys::{DroppedConnections, ListenQueue, ProcessUsage};

/// What there is to tell at some time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) fleet: &'a FleetStatus,
    pub(super) templates: &'a [TemplateStatus],
    /// Of the templates together.
    pub(super) template_resident: Option<u64>,
    pub(super) history: &'a HistoryView,
    pub(super) queues: &'a [ListenerQueues],
    pub(super) slots: &'a [SlotUsage],
    pub(super) master: Option<ProcessUsage>,
    pub(super) dropped: Option<DroppedConnections>,
    /// Whether the processes share their values.
    pub(super) shared: bool,
    /// Shared values without a place.
    pub(super) unplaced: u64,
    pub(super) health_connections: usize,
}

/// What the children of a slot use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotUsage {
    pub(super) slot: usize,
    /// With that of the children that have ended.
    pub(super) cpu: Duration,
    /// Of the children that live.
    pub(super) living: Option<LivingUsage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LivingUsage {
    pub(super) resident: u64,
    pub(super) private: Option<u64>,
    pub(super) open_files: Option<u64>,
    /// When the newest child started.
    pub(super) started_at: SystemTime,
}

#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
}

macro_rules! families {
    ($($constant:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(const $constant: Family =
            Family { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help };)*

        /// Every family, in the order of the text.
        #[cfg(test)]
        const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD_INFO Gauge "prefork_build_info" ["version"] "Always 1, with the version of prefork in the master's program";
    START_TIME Gauge "prefork_start_time_seconds" [] "When the master started; an upgrade does not change it";
    STATE Gauge "prefork_state" ["state"] "1 for the state that the fleet is in";
    GENERATION Gauge "prefork_generation" [] "The generation of the fleet: of the reload under way, or of the last that was done";
    SLOTS Gauge "prefork_slots" [] "How many slots there are, each for one child that serves";
    SLOTS_READY Gauge "prefork_slots_ready" [] "Slots whose child accepts connections";
    CHILDREN Gauge "prefork_children" ["state"] "Child processes that live, by what they do; a slot that is being replaced has two";
    TEMPLATES Gauge "prefork_templates" ["state"] "Templates, by what they do: with preload, each generation that children may be started of has one";
    LEADER Gauge "prefork_leader" ["slot"] "1 for the slot of the leader; absent before a child has asked to become it";
    STARTS Counter "prefork_child_starts_total" ["reason"] "Child processes that were started";
    FAILURES Counter "prefork_child_failures_total" ["kind" "phase"] "Children that failed, before or after they were ready";
    STOP_TIMEOUTS Counter "prefork_child_stop_timeouts_total" [] "Children that were killed because they did not stop within shutdown_grace";
    RECYCLES Counter "prefork_child_recycles_total" ["reason"] "Children that were chosen for their replacement";
    RELOADS Counter "prefork_reloads_total" ["result"] "Reloads that have ended; the second half of an upgrade is one";
    UPGRADES Counter "prefork_upgrades_total" ["result"] "Upgrades of the master's program that have ended";
    LAST_RELOAD_OK Gauge "prefork_last_reload_successful" [] "Whether the last reload or upgrade was done; absent before the first has ended";
    LAST_RELOAD_TIME Gauge "prefork_last_reload_timestamp_seconds" [] "When the last reload or upgrade ended";
    SLOT_CPU Counter "prefork_slot_cpu_seconds_total" ["slot"] "CPU time of the slot's children, those that have ended included";
    SLOT_RESIDENT Gauge "prefork_slot_resident_memory_bytes" ["slot"] "Resident memory of the slot's children";
    SLOT_PRIVATE Gauge "prefork_slot_private_memory_bytes" ["slot"] "Resident memory of the slot's children that no other process has; absent without templates";
    SLOT_FILES Gauge "prefork_slot_open_fds" ["slot"] "Open file descriptors of the slot's children, on Windows handles";
    SLOT_START Gauge "prefork_slot_start_time_seconds" ["slot"] "When the slot's newest child started";
    MASTER_CPU Counter "prefork_master_cpu_seconds_total" [] "CPU time of the master itself";
    MASTER_RESIDENT Gauge "prefork_master_resident_memory_bytes" [] "Resident memory of the master";
    MASTER_FILES Gauge "prefork_master_open_fds" [] "Open file descriptors of the master, on Windows handles";
    TEMPLATE_RESIDENT Gauge "prefork_template_resident_memory_bytes" [] "Resident memory of the templates; absent without one";
    QUEUE Gauge "prefork_listener_queue_length" ["listener" "slot"] "Connections that wait to be accepted";
    QUEUE_LIMIT Gauge "prefork_listener_queue_limit" ["listener" "slot"] "Connections that can wait to be accepted";
    LISTENER_DROPS Counter "prefork_listener_drops_total" ["listener" "slot"] "Packets for the listener that the system dropped, as it does while the queue is full";
    OVERFLOWS Counter "prefork_namespace_listen_overflows_total" [] "Connections dropped because a queue was full, of all listeners in the network namespace";
    DROPS Counter "prefork_namespace_listen_drops_total" [] "Connections dropped for any reason, of all listeners in the network namespace";
    LOG_DROPPED Counter "prefork_log_messages_dropped_total" [] "Log messages of the master that were dropped because the logger was slow";
    SHARED_REGION Gauge "prefork_shared_region" [] "Whether the processes share their values; if not, limits are each child's own and the children's values are not here";
    SHARED_FULL Gauge "prefork_shared_full" [] "Values for which live processes had no room: they count in their process alone, those of a full family as `other`";
    HEALTH Gauge "prefork_health_connections" [] "Open connections to the health endpoint";
}

impl Family {
    fn write(&self, out: &mut Exposition, add: impl FnOnce(&mut Samples<'_>)) {
        if let Some(mut samples) = out.family(self.name, self.kind, self.help) {
            add(&mut samples);
        }
    }

    /// A family of one sample.
    fn write_one(&self, out: &mut Exposition, value: impl Into<Number>) {
        self.write(out, |samples| samples.add(&[], value));
    }

    /// The samples of what was counted, if `label` tells the values of its labels.
    fn write_tallies<'a, const N: usize>(
        &self,
        out: &mut Exposition,
        fleet: &FleetStatus,
        label: impl Fn(Tally) -> Option<[&'a str; N]>,
    ) {
        self.write(out, |samples| {
            for (tally, count) in fleet.totals.each() {
                let Some(values) = label(tally) else { continue };
                let labels: Vec<(&str, &str)> = self.labels.iter().copied().zip(values).collect();
                samples.add(&labels, count);
            }
        });
    }
}

pub(super) fn write_fleet(out: &mut Exposition, sources: &Sources<'_>) {
    let Sources {
        fleet, history, queues, slots, master, dropped, shared, unplaced, health_connections, ..
    } = *sources;
    write_state(out, fleet, history);
    write_templates(out, sources.templates);
    if fleet.elects {
        write_leader(out, fleet);
    }
    write_counts(out, fleet, history);
    write_slots(out, slots);
    write_master(out, master);
    if let Some(resident) = sources.template_resident {
        TEMPLATE_RESIDENT.write_one(out, resident);
    }
    write_queues(out, queues);
    if let Some(DroppedConnections { overflows, drops }) = dropped {
        OVERFLOWS.write_one(out, overflows);
        DROPS.write_one(out, drops);
    }
    LOG_DROPPED.write_one(out, history.log_dropped);
    SHARED_REGION.write_one(out, shared);
    SHARED_FULL.write_one(out, unplaced);
    HEALTH.write_one(out, whole(health_connections));
}

fn write_state(out: &mut Exposition, fleet: &FleetStatus, history: &HistoryView) {
    const STATES: [FleetState; 6] = [
        FleetState::Starting,
        FleetState::Serving,
        FleetState::Reloading,
        FleetState::Holding,
        FleetState::StopDelay,
        FleetState::Stopping,
    ];
    BUILD_INFO.write(out, |samples| samples.add(&[("version", env!("CARGO_PKG_VERSION"))], true));
    START_TIME.write_one(out, timestamp(history.started_at));
    STATE.write(out, |samples| {
        for state in STATES {
            samples.add(&[("state", state.name())], fleet.state == state);
        }
    });
    GENERATION.write_one(out, fleet.generation);
    SLOTS.write_one(out, whole(fleet.slots));
    SLOTS_READY.write_one(out, whole(fleet.ready));
    CHILDREN.write(out, |samples| {
        for state in [ChildState::Starting, ChildState::Ready, ChildState::Stopping] {
            let count = fleet.children.iter().filter(|child| child.state == state).count();
            samples.add(&[("state", state.name())], whole(count));
        }
    });
}

fn write_templates(out: &mut Exposition, templates: &[TemplateStatus]) {
    const STATES: [TemplateState; 5] = [
        TemplateState::Starting,
        TemplateState::Loading,
        TemplateState::Ready,
        TemplateState::Forking,
        TemplateState::Waiting,
    ];
    TEMPLATES.write(out, |samples| {
        for state in STATES {
            let count = templates.iter().filter(|template| template.state == state).count();
            samples.add(&[("state", state.name())], whole(count));
        }
    });
}

fn write_leader(out: &mut Exposition, fleet: &FleetStatus) {
    let leader = fleet.children.iter().find(|child| child.leader).map(|child| child.slot);
    // The slot of a leader that drains may be gone.
    let slots = (0..fleet.slots).chain(leader.filter(|slot| *slot >= fleet.slots));
    LEADER.write(out, |samples| {
        for slot in slots {
            samples.add(&[("slot", &slot.to_string())], leader == Some(slot));
        }
    });
}

fn write_counts(out: &mut Exposition, fleet: &FleetStatus, history: &HistoryView) {
    STARTS.write_tallies(out, fleet, |tally| match tally {
        Tally::Start(reason) => Some([start_reason(reason)]),
        _ => None,
    });
    FAILURES.write_tallies(out, fleet, |tally| match tally {
        Tally::Failure { kind, ready } => {
            Some([failure_kind(kind), if ready { "ready" } else { "starting" }])
        }
        _ => None,
    });
    STOP_TIMEOUTS.write_one(out, fleet.totals.get(Tally::StopTimeout));
    RECYCLES.write_tallies(out, fleet, |tally| match tally {
        Tally::Recycle(reason) => Some([recycle_reason(reason)]),
        _ => None,
    });
    RELOADS.write_tallies(out, fleet, |tally| match tally {
        Tally::Reload(result) => Some([change_result(result)]),
        _ => None,
    });
    UPGRADES.write_tallies(out, fleet, |tally| match tally {
        Tally::Upgrade(result) => Some([change_result(result)]),
        _ => None,
    });
    if let Some(LastChange { at, done }) = history.last_change {
        LAST_RELOAD_OK.write_one(out, done);
        LAST_RELOAD_TIME.write_one(out, timestamp(at));
    }
}

fn write_slots(out: &mut Exposition, slots: &[SlotUsage]) {
    if slots.is_empty() {
        return;
    }
    let names: Vec<String> = slots.iter().map(|usage| usage.slot.to_string()).collect();
    let mut write = |family: &Family, value: &dyn Fn(&SlotUsage) -> Option<Number>| {
        family.write(out, |samples| {
            for (usage, name) in slots.iter().zip(&names) {
                if let Some(value) = value(usage) {
                    samples.add(&[("slot", name)], value);
                }
            }
        });
    };
    write(&SLOT_CPU, &|usage| Some(usage.cpu.as_secs_f64().into()));
    write(&SLOT_RESIDENT, &|usage| Some(usage.living?.resident.into()));
    if slots.iter().any(|usage| usage.living.is_some_and(|living| living.private.is_some())) {
        write(&SLOT_PRIVATE, &|usage| Some(usage.living?.private?.into()));
    }
    if slots.iter().any(|usage| usage.living.is_some_and(|living| living.open_files.is_some())) {
        write(&SLOT_FILES, &|usage| Some(usage.living?.open_files?.into()));
    }
    write(&SLOT_START, &|usage| Some(timestamp(usage.living?.started_at).into()));
}

fn write_master(out: &mut Exposition, master: Option<ProcessUsage>) {
    let Some(ProcessUsage { cpu, resident, open_files, .. }) = master else { return };
    MASTER_CPU.write_one(out, cpu.as_secs_f64());
    MASTER_RESIDENT.write_one(out, resident);
    if let Some(open_files) = open_files {
        MASTER_FILES.write_one(out, open_files);
    }
}

fn write_queues(out: &mut Exposition, listeners: &[ListenerQueues]) {
    let known = || listeners.iter().flat_map(|listener| listener.queues.iter().flatten());
    if known().next().is_none() {
        return;
    }
    let mut write = |family: &Family, value: &dyn Fn(&ListenQueue) -> Option<u32>| {
        family.write(out, |samples| {
            for ListenerQueues { listener, per_slot, queues } in listeners {
                for (slot, queue) in queues.iter().enumerate() {
                    let Some(value) = queue.as_ref().and_then(value) else { continue };
                    let slot = slot.to_string();
                    let labels = [("listener", listener.as_str()), ("slot", slot.as_str())];
                    samples.add(&labels[..if *per_slot { 2 } else { 1 }], value);
                }
            }
        });
    };
    write(&QUEUE, &|queue| Some(queue.length));
    write(&QUEUE_LIMIT, &|queue| Some(queue.limit));
    if known().any(|queue| queue.drops.is_some()) {
        write(&LISTENER_DROPS, &|queue| queue.drops);
    }
}

fn start_reason(reason: StartReason) -> &'static str {
    match reason {
        StartReason::Start => "start",
        StartReason::Scale => "scale",
        StartReason::Recover => "recover",
        StartReason::Reload => "reload",
        StartReason::Rollback => "rollback",
        StartReason::Recycle => "recycle",
        StartReason::Upgrade => "upgrade",
    }
}

fn failure_kind(kind: FailureCause) -> &'static str {
    match kind {
        FailureCause::Spawn => "spawn",
        FailureCause::StartTimeout => "start_timeout",
        FailureCause::EarlyExit => "early_exit",
        FailureCause::Status => "status",
        FailureCause::Signal => "signal",
        FailureCause::Hang => "hang",
        FailureCause::Link => "link",
    }
}

fn recycle_reason(reason: RecycleReason) -> &'static str {
    match reason {
        RecycleReason::Lifetime => "max_lifetime",
        RecycleReason::Size => "max_rss",
        RecycleReason::Retired => "retired",
        RecycleReason::Signalled => "signalled",
        RecycleReason::Operator => "operator",
    }
}

fn change_result(result: ChangeResult) -> &'static str {
    match result {
        ChangeResult::Done => "done",
        ChangeResult::Aborted => "aborted",
        ChangeResult::Refused => "refused",
        ChangeResult::Superseded => "superseded",
        ChangeResult::Cancelled => "cancelled",
        ChangeResult::RolledBack => "rolled_back",
    }
}

/// In seconds since the epoch.
fn timestamp(time: SystemTime) -> f64 {
    since_epoch(time).as_secs_f64()
}

fn whole(count: usize) -> Number {
    Number::Whole(count as u64)
}

#[cfg(test)]
mod tests;
