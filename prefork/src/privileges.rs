//! The privileges and the placement of a child: its user, limits, CPU, and files.
//!
//! The master checks the options on this machine and sends the result to each child in the handshake. The
//! child applies it immediately after that, before any user code runs. If a step fails, the child exits
//! with an error message; it never runs with more than the options allow.

use std::io;

use crate::error::Error;
use crate::sys::{self, Identity, LandlockPaths};

/// See the [module](self). The default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Privileges {
    pub(crate) identity: Option<Identity>,
    /// Whether programs that the child executes cannot gain privileges, for example by a set-user-id bit.
    pub(crate) no_new_privs: bool,
    /// The scheduling priority, from -20 (highest) to 19.
    pub(crate) nice: Option<i32>,
    /// The soft limit on open descriptors.
    pub(crate) open_files: Option<u64>,
    /// The CPU that the child is pinned to.
    pub(crate) cpu: Option<usize>,
    /// The files that the child can open, if Landlock confines it.
    pub(crate) files: Option<LandlockPaths>,
}

impl Privileges {
    /// Protects a template from other processes of its user, such as a child that was taken over: what is changed in it
    /// would be in all later children. It may still be killed.
    ///
    /// # Errors
    ///
    /// [`Error::Privileges`].
    pub(crate) fn protect_template(&self) -> Result<(), Error> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let attempt = format!("refuse to be traced by user {}", identity.uid);
        sys::refuse_tracing().map_err(|source| Error::Privileges { attempt, source })
    }

    /// Applies them to a template. With Landlock it can read all of `/proc`: its children, whose pids are not known
    /// yet, have no more than it has, and each confines itself to its own directory there.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub(crate) fn apply_to_template(&self) -> Result<(), Error> {
        let mut own = self.clone();
        own.files.iter_mut().for_each(|files| files.read.push("/proc".into()));
        own.apply()
    }

    /// Checks that this process has inherited the user, its groups and `no_new_privs` from its template, and applies
    /// what is its own: the CPU, and the directory in `/proc` that Landlock leaves to it. The limit on descriptors and
    /// the priority are inherited as they are: what `init` has changed of them holds in an executed child as well.
    ///
    /// # Errors
    ///
    /// [`Error::Privileges`]; the process must then exit.
    pub(crate) fn apply_to_forked(&self) -> Result<(), Error> {
        let step = |attempt: String| move |source| Error::Privileges { attempt, source };
        if let Some(cpu) = self.cpu {
            sys::pin_to_cpu(cpu).map_err(step(format!("run on CPU {cpu}")))?;
        }
        if let Some(identity) = &self.identity {
            let verified = sys::verify_user(identity).and_then(|()| sys::restore_access_to_itself());
            verified.map_err(step(format!("run as user {}", identity.uid)))?;
        }
        if self.no_new_privs {
            let lacks = || io::Error::other("its template does not have it; giving up");
            let verified = sys::has_no_new_privs().and_then(|is_set| is_set.then_some(()).ok_or_else(lacks));
            verified.map_err(step("verify no_new_privs".to_owned()))?;
        }
        if let Some(files) = &self.files {
            sys::confine_to(files).map_err(step("confine itself with Landlock".to_owned()))?;
        }
        Ok(())
    }

    /// Applies them to this process; they cannot be undone. What needs root comes before the change of
    /// user.
    ///
    /// # Errors
    ///
    /// [`Error::Privileges`] for the first step that fails; the process must then exit.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        if *self == Self::default() {
            return Ok(());
        }
        let step = |attempt: String| move |source| Error::Privileges { attempt, source };
        // The system applies most of these to one thread, and to the threads that it starts afterwards.
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
            sys::change_user(identity).map_err(step(format!("run as user {}", identity.uid)))?;
        }
        if self.no_new_privs {
            sys::set_no_new_privs().map_err(step("set no_new_privs".to_owned()))?;
        }
        if let Some(files) = &self.files {
            sys::confine_to(files).map_err(step("confine itself with Landlock".to_owned()))?;
        }
        Ok(())
    }
}
