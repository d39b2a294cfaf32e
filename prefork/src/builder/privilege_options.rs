//! The options of privileges and placement: what a child may do, and where it runs.

use std::io;
use std::path::PathBuf;

use prefork_options as options;
use prefork_options::OptionRow;

use super::problems::Problems;
use super::values::bad;
use super::{CpuAffinity, OptionValue, Prefork};
use crate::error::Error;
use crate::privileges::Privileges;
use crate::sys::{self, Identity, LandlockPaths};

/// # Privileges and placement
///
/// The master keeps its privileges. With the attribute, a child takes these on before any user code runs,
/// `init` included. With the builder, the code before `listen_and_serve` runs first, and must not start
/// a thread.
impl Prefork {
    /// The user that children run as, by name or number: the master binds the address as root, and no
    /// child has root's privileges. The groups are those of the user, unless [`group`](Self::group)
    /// names another primary one. On Linux a child also drops every capability.
    ///
    /// The child then tries to regain root, and exits with an error if it can.
    pub fn user(self, user: impl ToString) -> Self {
        self.put(&options::USER, user.to_string())
    }

    /// The primary group of children, by name or number; goes with [`user`](Self::user). Default: the
    /// user's own.
    pub fn group(self, group: impl ToString) -> Self {
        self.put(&options::GROUP, group.to_string())
    }

    /// Whether programs that children execute are kept from gaining privileges: `sudo` and other
    /// set-user-id programs have no effect. Linux only. Default: no.
    pub fn no_new_privs(self, no_new_privs: bool) -> Self {
        self.put(&options::NO_NEW_PRIVS, no_new_privs)
    }

    /// Pins each child to one CPU, as a [`CpuAffinity`] or as text: `"auto"` for the CPUs that the
    /// master may use, or a list such as `"0-3,8"`. The child of slot i gets the i-th, cyclically. With
    /// `reuseport` the kernel prefers that child's socket for a connection whose packets arrive on that
    /// CPU. Linux only. Default: any CPU.
    pub fn cpu_affinity(self, cpus: impl OptionValue<CpuAffinity>) -> Self {
        self.set(&options::CPU_AFFINITY, cpus)
    }

    /// The scheduling priority of children, from -20 (highest) to 19. A value below the master's own needs
    /// root. Default: the master's priority.
    pub fn nice(self, nice: i32) -> Self {
        self.put(&options::NICE, nice)
    }

    /// Soft limit on open files and sockets of a child, at least 16. A value above the hard limit raises
    /// that as well, which needs root. Default: the master's limit.
    pub fn rlimit_nofile(self, limit: u32) -> Self {
        self.put(&options::RLIMIT_NOFILE, limit)
    }

    /// Paths that children may read and execute: files, and directories with everything beneath. With
    /// this option or [`landlock_write`](Self::landlock_write), children can open no other files; open
    /// descriptors stay open. Implies [`no_new_privs`](Self::no_new_privs).
    ///
    /// Needs Linux 6.2 and the feature `landlock`; refused elsewhere. A child can always use `/dev/null`
    /// and its own directory in `/proc`.
    #[cfg_attr(docsrs, doc(cfg(feature = "landlock")))]
    pub fn landlock_read<P: Into<PathBuf>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        self.put(&options::LANDLOCK_READ, paths)
    }

    /// As [`landlock_read`](Self::landlock_read), for paths that children may also write, create and remove.
    #[cfg_attr(docsrs, doc(cfg(feature = "landlock")))]
    pub fn landlock_write<P: Into<PathBuf>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        self.put(&options::LANDLOCK_WRITE, paths)
    }
}

impl Prefork {
    /// Looks up users, groups and CPUs: returns the privileges of every child, and the CPUs to assign
    /// cyclically.
    ///
    /// `bound` are the privileges that this process itself runs under, if it is a successor: such a
    /// child cannot check what its master may do.
    pub(super) fn privileges(&self, bound: &Privileges, problems: &mut Problems) -> (Privileges, Vec<usize>) {
        if bound.files.is_some() {
            // Landlock may hide the user database from a successor.
            return (Privileges::default(), Vec::new());
        }
        let identity = if problems.concern(&[&options::USER, &options::GROUP]) {
            None
        } else {
            problems.note(self.identity()).flatten()
        };
        let privileges = Privileges {
            identity,
            no_new_privs: self.get_or_default(&options::NO_NEW_PRIVS),
            nice: self.get(&options::NICE),
            open_files: self.get::<u32>(&options::RLIMIT_NOFILE).map(u64::from),
            cpu: None,
            files: self.landlock_paths(),
        };
        if *bound == Privileges::default() {
            self.check_means(&privileges, problems);
        }
        // A child that is pinned sees only its own CPU.
        let cpus =
            if bound.cpu.is_none() { problems.note(self.cpus()).unwrap_or_default() } else { Vec::new() };
        (privileges, cpus)
    }

    fn landlock_paths(&self) -> Option<LandlockPaths> {
        let paths = |row: &OptionRow| self.get::<Vec<PathBuf>>(row);
        match (paths(&options::LANDLOCK_READ), paths(&options::LANDLOCK_WRITE)) {
            (None, None) => None,
            (read, write) => {
                Some(LandlockPaths { read: read.unwrap_or_default(), write: write.unwrap_or_default() })
            }
        }
    }

    fn identity(&self) -> Result<Option<Identity>, Error> {
        let group = self.get::<String>(&options::GROUP);
        let (user_option, group_option) = (self.name_of(&options::USER), self.name_of(&options::GROUP));
        let Some(value) = self.get::<String>(&options::USER) else {
            return match group {
                Some(group) => Err(bad(group_option, group, "`user` or PREFORK_USER beside it")),
                None => Ok(None),
            };
        };
        let lookup = |source| Error::Privileges { attempt: format!("look up the user {value}"), source };
        let user = sys::find_user(&value).map_err(lookup)?;
        let group = match group {
            Some(group) => {
                let found = sys::find_group(&group).map_err(lookup)?;
                let unknown = || bad(group_option, group, "a group of this system, by name or number");
                Some(found.ok_or_else(unknown)?)
            }
            None => None,
        };
        let (uid, gid, groups) = match (user, group) {
            (Some(user), group) => {
                let gid = group.unwrap_or(user.gid);
                (user.uid, gid, sys::groups_of(&user.name, gid).map_err(lookup)?)
            }
            // A number needs no entry in the user database, but without one its group is unknown.
            (None, Some(gid)) if value.parse::<u32>().is_ok() => {
                (value.parse().unwrap_or(u32::MAX), gid, Vec::new())
            }
            (None, None) if value.parse::<u32>().is_ok() => {
                return Err(bad(
                    user_option,
                    value,
                    "a user with an entry in the user database, or `group` or PREFORK_GROUP beside it",
                ));
            }
            (None, _) => return Err(bad(user_option, value, "a user of this system, by name or number")),
        };
        if uid == 0 || uid == u32::MAX {
            return Err(bad(
                user_option,
                value,
                "a user other than root, whose privileges children are to lose",
            ));
        }
        let groups = groups.into_iter().filter(|group| *group != gid).collect();
        Ok(Some(Identity { uid, gid, groups }))
    }

    /// Checks that this process may apply the privileges.
    fn check_means(&self, privileges: &Privileges, problems: &mut Problems) {
        let mut check = |outcome: io::Result<()>, attempt: String| {
            problems.add_error_of(outcome.map_err(|source| Error::Privileges { attempt, source }));
        };
        if let Some(value) = self.get::<String>(&options::USER) {
            check(sys::check_may_change_user(), format!("run children as {value}"));
        }
        if let Some(nice) = privileges.nice {
            check(sys::check_nice(nice), format!("run children with nice {nice}"));
        }
        if let Some(limit) = privileges.open_files {
            check(sys::check_open_files(limit), format!("set rlimit_nofile to {limit}"));
        }
        if privileges.no_new_privs {
            check(sys::check_no_new_privs(), "run children with no_new_privs".to_owned());
        }
        if let Some(files) = &privileges.files {
            check(sys::check_landlock(), "confine children with Landlock".to_owned());
            for path in files.read.iter().chain(&files.write) {
                check(path.metadata().map(drop), format!("give children access to {}", path.display()));
            }
        }
    }

    fn cpus(&self) -> Result<Vec<usize>, Error> {
        let Some(wanted) = self.get::<CpuAffinity>(&options::CPU_AFFINITY) else { return Ok(Vec::new()) };
        let cannot = |source| Error::Privileges { attempt: "pin children to CPUs".to_owned(), source };
        let allowed = sys::allowed_cpus().map_err(cannot)?;
        let CpuAffinity::Cpus(cpus) = wanted else { return Ok(allowed) };
        match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => {
                let list: Vec<String> = allowed.iter().map(usize::to_string).collect();
                Err(bad(
                    self.name_of(&options::CPU_AFFINITY),
                    cpu,
                    format!("CPUs that this process may use: {}", list.join(",")),
                ))
            }
            None => Ok(cpus),
        }
    }
}
