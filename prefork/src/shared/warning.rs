//! The warnings about shared values.

use std::process;

use super::clash::Clash;
use super::entry::Entry;
use crate::logging::{Logger, this_process};

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Warning {
    Full {
        name: String,
    },
    FamilyFull {
        name: String,
        most: usize,
    },
    #[cfg(feature = "metrics")]
    Dropped {
        name: String,
    },
    Clash {
        entry: Entry,
        clash: Clash,
    },
}

impl Warning {
    pub(super) fn log(&self, logger: &Logger) {
        let here = here();
        match self {
            Self::Full { name } => logger.event("shared_full").warn(format_args!(
                "{here} has no room for the shared value {name}: it counts in this process alone, as others may \
                 that follow"
            )),
            Self::FamilyFull { name, most } => logger.event("shared_family_full").warn(format_args!(
                "{here} counts further sets of labels of the shared value {name} as `other`: there are {most}, its limit"
            )),
            #[cfg(feature = "metrics")]
            Self::Dropped { name } => logger.event("shared_dropped").warn(format_args!(
                "{here} drops the metric {name}, as others that follow: it has too many"
            )),
            Self::Clash { entry, clash: Clash::Family { other } } => {
                logger.event("shared_conflict").warn(format_args!(
                    "{here} has the shared value {} as a {}, and it is in use as a {}: the two are apart, and \
                     /metrics shows the one that most of the children use",
                    entry.name,
                    entry.shape_text(),
                    other.shape_text()
                ));
            }
            Self::Clash { entry, clash: Clash::Part { part, histogram } } => {
                logger.event("shared_conflict").warn(format_args!(
                    "{here} has the shared value {}; {part} is the name of a part of the histogram {histogram}, \
                     and left out of /metrics",
                    entry.name
                ));
            }
        }
    }
}

/// This process in messages, as in those of other children.
fn here() -> String {
    let pid = process::id();
    match this_process().slot() {
        Some(slot) => format!("child {slot} (pid {pid})"),
        None => format!("this process (pid {pid})"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::lane::Lane;
    use super::super::process::Process;
    use super::super::region::Region;
    use super::super::series::{Kind, Series};
    use super::*;
    use crate::logging;

    struct KeepingLog(Arc<Mutex<Vec<String>>>);

    impl log::Log for KeepingLog {
        fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    const COUNTER: Series = Series::new(Kind::Counter, "a", "Help");
    const HISTOGRAM: Series = Series::new(Kind::Histogram, "h", "Help").with_bounds(&[1.0, 2.5]);

    #[test]
    fn clash_is_told_once_for_each_name_and_only_if_the_other_family_is_in_use() {
        let region = Arc::new(Region::create().unwrap());
        let place = |number, series: &Series| {
            let mut lane = Lane::new(Arc::clone(&region), number).unwrap();
            lane.place(&Entry::from(series), usize::MAX).ok().unwrap();
        };
        place(1, &COUNTER);
        place(1, &HISTOGRAM);
        let of_earlier_program = Series { name: "b", ..COUNTER };
        place(2, &of_earlier_program);
        region.clear_lane(2).unwrap();
        let (process, told) = (Process::new(), Arc::default());
        process.use_logger(&Logger::new(KeepingLog(Arc::clone(&told))));
        process.attach(Lane::new(Arc::clone(&region), 3).unwrap());
        for value in ["1", "2", "3"] {
            for name in ["a", "b", "h"] {
                let labels: &[_] = Vec::leak(vec![("label", value)]);
                process.resolve(&Series { kind: Kind::Gauge, name, labels, ..COUNTER });
            }
        }
        process.resolve(&Series { name: "h_count", ..COUNTER });
        logging::flush();
        let here = here();
        let in_use = |name: &str, other: &str| {
            format!(
                "{here} has the shared value {name} as a gauge, and it is in use as a {other}: the two are apart, \
                 and /metrics shows the one that most of the children use"
            )
        };
        let part = format!(
            "{here} has the shared value h_count; h_count is the name of a part of the histogram h, and left out of \
             /metrics"
        );
        let expected = [in_use("a", "counter"), in_use("h", "histogram with the bounds 1, 2.5"), part];
        assert_eq!(*told.lock().unwrap(), expected);
    }
}
