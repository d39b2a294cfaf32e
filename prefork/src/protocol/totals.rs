//! What the supervisor and the master have counted, for the program that replaces the master's own.

use std::io;
use std::time::Duration;

use super::codec::Record;
use crate::supervisor::FleetTotals;

/// What the master has noted beside what its supervisor counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MasterTotals {
    /// When the master started, since the epoch. An older program does not tell.
    pub(crate) started_at: Option<Duration>,
    /// When the last reload or upgrade ended, since the epoch, and whether it was done.
    pub(crate) last_change: Option<(Duration, bool)>,
    /// Log messages that were dropped.
    pub(crate) log_dropped: u64,
    /// The CPU time of the children that have ended, by slot.
    pub(crate) ended_cpu: Vec<Duration>,
}

pub(super) const KIND: &str = "counted";

pub(super) fn totals_to_record(fleet: &FleetTotals, master: &MasterTotals) -> Record {
    let MasterTotals { started_at, last_change, log_dropped, ended_cpu } = master;
    let micros: Vec<u64> = ended_cpu.iter().map(micros).collect();
    let counted = fleet.named().filter(|(_, count)| *count > 0);
    counted
        .fold(Record::new(KIND), |record, (name, count)| record.with(name, &count))
        .with_each("started_at_ms", started_at)
        .with_each("last_change_at_ms", last_change.iter().map(|(at, _)| at))
        .with_each("last_change_done", last_change.iter().map(|(_, done)| done))
        .with("log_dropped", log_dropped)
        .with_each("ended_cpu_us", &micros)
}

pub(super) fn totals_from_record(record: &Record) -> io::Result<(FleetTotals, MasterTotals)> {
    let fleet = FleetTotals::from_named(|name| record.find(name))?;
    let last_change = record.find("last_change_at_ms")?.zip(record.find("last_change_done")?);
    let ended_cpu: Vec<u64> = record.all("ended_cpu_us")?;
    let master = MasterTotals {
        started_at: record.find("started_at_ms")?,
        last_change,
        log_dropped: record.find("log_dropped")?.unwrap_or_default(),
        ended_cpu: ended_cpu.into_iter().map(Duration::from_micros).collect(),
    };
    Ok((fleet, master))
}

fn micros(time: &Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::codec::testing::duration;
    use super::*;

    pub(in crate::protocol) fn fleet_totals() -> impl Strategy<Value = FleetTotals> {
        prop::collection::vec(any::<u64>(), 64).prop_map(|counts| {
            let names: Vec<&str> = FleetTotals::default().named().map(|(name, _)| name).collect();
            let find = |name: &str| {
                let place = names.iter().position(|known| *known == name);
                Ok::<_, ()>(place.map(|place| counts[place]))
            };
            FleetTotals::from_named(find).unwrap()
        })
    }

    pub(in crate::protocol) fn master_totals() -> impl Strategy<Value = MasterTotals> {
        let change = prop::option::of((duration(), any::<bool>()));
        let cpu =
            prop::collection::vec(any::<u32>().prop_map(|time| Duration::from_micros(time.into())), 0..4);
        (prop::option::of(duration()), change, any::<u64>(), cpu).prop_map(
            |(started_at, last_change, log_dropped, ended_cpu)| MasterTotals {
                started_at,
                last_change,
                log_dropped,
                ended_cpu,
            },
        )
    }

    #[test]
    fn names_of_totals_differ() {
        let mut names: Vec<&str> = FleetTotals::default().named().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn totals_of_an_older_program_are_zero() {
        let (fleet, master) = totals_from_record(&Record::parse(KIND)).unwrap();
        assert_eq!((fleet, master), (FleetTotals::default(), MasterTotals::default()));
    }
}
