//! Windows has no service manager that takes notifications or passes sockets.

use std::io;
use std::time::Duration;

use crate::sys::{Activated, Notice};

pub(crate) fn activated() -> io::Result<Vec<Activated>> {
    Ok(Vec::new())
}

pub(crate) fn is_managed() -> bool {
    false
}

pub(crate) fn watchdog() -> Option<Duration> {
    None
}

pub(crate) fn notify(_notices: &[Notice<'_>]) -> io::Result<()> {
    Ok(())
}

/// There is no such log here.
pub(crate) fn stderr_is_journal() -> bool {
    false
}
