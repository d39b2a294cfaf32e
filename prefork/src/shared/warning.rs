//! The warnings about shared values.

use std::process;

use super::series::Kind;
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
    Conflict {
        name: String,
        kind: Kind,
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
                "{here} has {most} sets of labels of the shared value {name}: further ones count as `other`"
            )),
            #[cfg(feature = "metrics")]
            Self::Dropped { name } => logger.event("shared_dropped").warn(format_args!(
                "{here} drops the metric {name}, as others that follow: it has too many"
            )),
            Self::Conflict { name, kind } => logger.event("shared_conflict").warn(format_args!(
                "{here} has a {} by the name {name}, which is of another kind or with other bounds elsewhere: \
                 the two are apart",
                kind.name()
            )),
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
