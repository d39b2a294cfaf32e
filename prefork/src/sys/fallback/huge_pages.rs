//! These systems fork no template, so it does not matter.

use std::io;

pub(crate) fn use_huge_pages() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
