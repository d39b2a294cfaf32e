//! The region over the life of a fleet: the master makes it, gives lanes to children, and passes it to the next
//! program in its process; a child joins.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::Entry;
use super::lane::Lane;
use super::layout::{SIZE, VERSION};
use super::ledger::{Ledger, MASTER, Mark};
use super::process::PROCESS;
use super::region::Region;
use super::snapshot::{Sample, Snapshot};
use crate::error::plain;
use crate::logging::Logger;
use crate::sys::SharedMemory;

/// Whether this process is a master that could make no region.
static WITHOUT_REGION: AtomicBool = AtomicBool::new(false);

/// The lane of a child, as its handshake names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LanePlace {
    /// The version of the region's layout.
    pub(crate) layout: u32,
    pub(crate) lane: usize,
}

/// What passes to the next program in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedValues {
    /// The version of the region's layout.
    pub(crate) layout: u32,
    /// The number of the region's descriptor.
    pub(crate) descriptor: i32,
    /// Each series, and the cells of its total.
    pub(crate) totals: Vec<(Vec<u8>, Vec<u64>)>,
}

impl PassedValues {
    /// Whether this program can go on with the region, and with the lanes that children have in it.
    pub(crate) fn has_this_layout(&self) -> bool {
        self.layout == VERSION
    }
}

/// The shared values as the master has them. Without a region, every process counts for itself.
#[derive(Debug)]
pub(crate) struct FleetValues {
    ledger: Option<(Ledger, Arc<Region>)>,
}

impl FleetValues {
    /// Makes the region. If that cannot be done, it is logged, and the fleet serves without one.
    pub(crate) fn create(logger: &Logger) -> Self {
        PROCESS.use_logger(logger);
        // A second fleet of this process goes on with the values of the first.
        let ledger = PROCESS.ledger().or_else(|| {
            let region = Region::create().map_err(|error| report_no_region(logger, &plain(&error))).ok()?;
            Some(Ledger::new(Arc::new(region)))
        });
        Self::with(ledger)
    }

    /// Goes on with the values of the previous program in this process, whose children have these lanes.
    pub(crate) fn resume(
        logger: &Logger,
        passed: Option<PassedValues>,
        lanes: impl Iterator<Item = usize>,
    ) -> Self {
        let Some(PassedValues { layout, descriptor, totals }) = passed else { return Self::create(logger) };
        let memory = SharedMemory::inherit(descriptor, SIZE);
        let totals =
            totals.iter().filter_map(|(entry, total)| Some((Entry::from_bytes(entry)?, total.clone())));
        let values = match memory {
            Ok(memory) if layout == VERSION => {
                PROCESS.use_logger(logger);
                let ledger = Ledger::new(Arc::new(Region::of(memory)));
                lanes.for_each(|lane| ledger.note_lease(lane));
                ledger.inherit(totals.collect());
                // What the previous program had in gauges is gone with it.
                if let Err(error) = ledger.fold_own() {
                    report_not_read(logger, &plain(&error));
                }
                return Self::with(Some(ledger));
            }
            // The children of the previous program count in its region until they are replaced.
            _ => Self::create(logger),
        };
        if let Some((ledger, _)) = &values.ledger {
            ledger.inherit(totals.collect());
        }
        values
    }

    fn with(ledger: Option<Ledger>) -> Self {
        WITHOUT_REGION.store(ledger.is_none(), Ordering::Relaxed);
        let ledger = ledger.map(|ledger| {
            let region = ledger.region();
            if PROCESS.ledger().is_none() {
                PROCESS.attach(Lane::of_master(Arc::clone(&region), MASTER, ledger.clone()));
            }
            (ledger, region)
        });
        Self { ledger }
    }

    /// A lane for a new child.
    pub(crate) fn lease(&self) -> Option<LanePlace> {
        let lane = self.ledger.as_ref()?.0.lease()?;
        Some(LanePlace { layout: VERSION, lane })
    }

    /// The lane of a child that the previous program in this process has started.
    pub(crate) fn adopted(&self, lane: usize, pid: u32) -> Option<LanePlace> {
        let (ledger, _) = self.ledger.as_ref()?;
        if !ledger.is_leased(lane) {
            return None;
        }
        ledger.note_pid(lane, pid);
        Some(LanePlace { layout: VERSION, lane })
    }

    /// Notes the pid of the child that was given a lane.
    pub(crate) fn note_pid(&self, place: LanePlace, pid: u32) {
        self.ledger.iter().for_each(|(ledger, _)| ledger.note_pid(place.lane, pid));
    }

    /// Takes back the lane of a child that has ended.
    pub(crate) fn release(&self, place: LanePlace, logger: &Logger) {
        let released = self.ledger.as_ref().map_or(Ok(()), |(ledger, _)| ledger.release(place.lane));
        if let Err(error) = released {
            report_not_read(logger, &plain(&error));
        }
    }

    /// What the child of a lane has counted so far.
    pub(crate) fn mark(&self, place: LanePlace) -> Option<Mark> {
        self.ledger.as_ref()?.0.mark(place.lane)
    }

    /// What the children of these lanes have counted together, each since its mark.
    pub(crate) fn of_group(&self, lanes: &[(LanePlace, Option<&Mark>)]) -> Snapshot {
        let lanes: Vec<(usize, Option<&Mark>)> =
            lanes.iter().map(|(place, mark)| (place.lane, *mark)).collect();
        self.ledger.as_ref().map_or_else(Snapshot::default, |(ledger, _)| ledger.group(&lanes))
    }

    /// The region, for a child or for the next program.
    pub(crate) fn memory(&self) -> Option<&SharedMemory> {
        let (_, region) = self.ledger.as_ref()?;
        Some(region.memory())
    }

    /// What passes to the next program in this process.
    pub(crate) fn passed(&self) -> Option<PassedValues> {
        let (ledger, _) = self.ledger.as_ref()?;
        let totals = ledger.totals().into_iter();
        let totals = totals.filter_map(|(entry, total)| Some((entry.to_bytes()?, total)));
        let descriptor = self.memory()?.number();
        Some(PassedValues { layout: VERSION, descriptor, totals: totals.collect() })
    }
}

/// Joins the fleet's values, in a child that was given a lane. What cannot be joined is logged, and this process
/// counts for itself.
pub(crate) fn join(place: LanePlace, take: impl FnOnce(usize) -> io::Result<SharedMemory>) {
    let logger = Logger::default();
    match take(SIZE) {
        Ok(memory) if place.layout == VERSION => match Lane::new(Arc::new(Region::of(memory)), place.lane) {
            Ok(lane) => PROCESS.attach(lane),
            Err(error) => report_not_joined(&logger, &plain(&error)),
        },
        Ok(_) => report_not_joined(
            &logger,
            &format_args!(
                "the master has version {} of the region and this program version {VERSION}, until an upgrade",
                place.layout
            ),
        ),
        Err(error) => report_not_joined(&logger, &plain(&error)),
    }
}

/// Forgets what this process has counted by itself: it is a copy of the process that has counted.
pub(crate) fn forget_private() {
    PROCESS.forget();
}

/// Notes that this process accepts no more connections.
pub(crate) fn note_drain() {
    PROCESS.note_drain();
}

/// The logger for warnings of this process.
pub(crate) fn use_logger(logger: &Logger) {
    PROCESS.use_logger(logger);
}

/// Every value of the fleet, in its master. In a process without a region, its own.
pub(crate) fn collect() -> Snapshot {
    if let Some(ledger) = PROCESS.ledger() {
        return ledger.collect();
    }
    let (values, unplaced) = PROCESS.own_values();
    let sample = |(entry, cells): (Entry, Vec<u64>)| Sample::new(&Arc::new(entry), &cells);
    Snapshot::new(values.into_iter().map(sample).collect(), unplaced)
}

/// The requests that each child has counted, by pid. A child that counts for itself is not among them, and no child is
/// if the program counts none. In a process without a region, its own.
pub(crate) fn requests() -> BTreeMap<u32, u64> {
    if let Some(ledger) = PROCESS.ledger() {
        return ledger.requests();
    }
    let (values, _) = PROCESS.own_values();
    let counters = values.iter().filter(|(entry, _)| entry.counts_requests());
    let count = counters.flat_map(|(_, cells)| cells.first().copied()).reduce(u64::saturating_add);
    count.map(|count| (process::id(), count)).into_iter().collect()
}

fn report_not_read(logger: &Logger, reason: &dyn fmt::Display) {
    let outcome = "it is tried again later";
    let event = logger.event("shared_not_read");
    event.warn(format_args!("cannot read what a process that has ended has counted: {reason}; {outcome}"));
}

/// Whether [`collect`] tells the values of every process: not in a master that could make no region.
pub(crate) fn has_region() -> bool {
    !WITHOUT_REGION.load(Ordering::Relaxed)
}

/// In the master.
fn report_no_region(logger: &Logger, reason: &dyn fmt::Display) {
    logger.event("not_shared").warn(format_args!(
        "shared values, flags and rate limits are each process's own, and /metrics lacks those of the children: \
         {reason}"
    ));
}

/// In a child.
fn report_not_joined(logger: &Logger, reason: &dyn fmt::Display) {
    logger.event("not_shared").warn(format_args!(
        "shared values, flags and rate limits are this process's own, and /metrics lacks them: {reason}"
    ));
}
