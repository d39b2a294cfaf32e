//! Rings of io_uring.

use std::os::fd::RawFd;

/// Whether this system has them.
pub(crate) const HAS_IO_URING: bool = true;

/// Whether one of these descriptors is a ring.
pub(in crate::sys) fn is_among(descriptors: &[RawFd]) -> bool {
    descriptors.iter().any(|number| super::descriptors::is_anonymous(*number, "[io_uring]"))
}
