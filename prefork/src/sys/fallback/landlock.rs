//! Landlock, which only Linux has.

use std::io;

use crate::sys::LandlockPaths;

pub(crate) fn check_landlock() -> io::Result<()> {
    Err(super::privileges::unsupported())
}

pub(crate) fn confine_to(_files: &LandlockPaths) -> io::Result<()> {
    Err(super::privileges::unsupported())
}
