//! Under which privileges a child runs: as which user, on which CPU, within which limits.
//!
//! The master finds out what the options mean on this machine and tells each child with the greeting.
//! The child takes the privileges on right after that, before any code of the user's runs; one that
//! cannot ends with a line that says why, and never goes on with more than it was to have.

use std::io;
use std::path::PathBuf;

use crate::error::Error;
use crate::sys;

/// See the [module](self). The default: those of the master.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Privileges {
    pub(crate) identity: Option<Identity>,
    /// Whether no program that the child executes may gain what the child does not have.
    pub(crate) no_new_privs: bool,
    /// The priority, from -20 (first) to 19 (last).
    pub(crate) nice: Option<i32>,
    /// How many descriptors it may have.
    pub(crate) open_files: Option<u64>,
    /// The one CPU that it runs on.
    pub(crate) cpu: Option<usize>,
    pub(crate) files: Option<LandlockPaths>,
}

/// A user and groups, by number. No privilege of root's is left to who takes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups, `gid` not among them.
    pub(crate) groups: Vec<u32>,
}

/// What is left of the file system: these files, and what is beneath these directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LandlockPaths {
    pub(crate) read: Vec<PathBuf>,
    /// To read and to write.
    pub(crate) write: Vec<PathBuf>,
}

impl Privileges {
    /// Takes them on, in this process, for ever. What may want root's privileges comes before those
    /// are given up.
    ///
    /// # Errors
    ///
    /// [`Error::Privileges`] at the first that cannot be; the process is then to end.
    pub(crate) fn take_on(&self) -> Result<(), Error> {
        if *self == Self::default() {
            return Ok(());
        }
        let step = |attempt: String| move |source| Error::Privileges { attempt, source };
        // Much of this counts for one thread, and for those that it starts.
        let others = sys::other_threads();
        if others > 0 {
            let text =
                format!("it has other threads already ({others}); start none before `listen_and_serve`");
            return Err(step("change what a child may do".to_owned())(io::Error::other(text)));
        }
        if let Some(limit) = self.open_files {
            sys::limit_open_files(limit).map_err(step(format!("set rlimit_nofile to {limit}")))?;
        }
        if let Some(nice) = self.nice {
            sys::set_nice(nice).map_err(step(format!("set nice to {nice}")))?;
        }
        if let Some(cpu) = self.cpu {
            sys::pin_to_cpu(cpu).map_err(step(format!("run on CPU {cpu}")))?;
        }
        if let Some(identity) = &self.identity {
            sys::assume(identity).map_err(step(format!("run as user {}", identity.uid)))?;
        }
        if self.no_new_privs {
            sys::refuse_new_privileges().map_err(step("set no_new_privs".to_owned()))?;
        }
        if let Some(files) = &self.files {
            sys::confine_to(files).map_err(step("confine itself with Landlock".to_owned()))?;
        }
        Ok(())
    }
}
