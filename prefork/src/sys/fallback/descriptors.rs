//! Files without a name.

use std::fs::File;
use std::io;

/// A file without a name.
pub(in crate::sys) fn anonymous_file() -> io::Result<File> {
    let (file, path) = nix::unistd::mkstemp(&std::env::temp_dir().join("prefork-upgrade-XXXXXX"))?;
    std::fs::remove_file(path)?;
    Ok(File::from(file))
}

/// Unsupported in one call.
pub(in crate::sys) fn close_on_exec_from_3() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
