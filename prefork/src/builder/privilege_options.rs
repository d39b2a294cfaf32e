//! Options of what a child may do, and where it runs.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::value::bad;
use super::{OptionValue, Prefork};
use crate::error::Error;
use crate::privileges::{Identity, LandlockPaths, Privileges};
use crate::sys;

pub(super) const NICE: RangeInclusive<i32> = -20..=19;
/// With fewer a child cannot take its listener.
pub(super) const OPEN_FILES: RangeInclusive<u32> = 16..=1 << 30;

/// What is asked for, as far as it can be understood without asking the system.
#[derive(Debug, Default)]
pub(super) struct PrivilegeOptions {
    user: Option<NamedValue>,
    group: Option<NamedValue>,
    no_new_privs: bool,
    cpu_affinity: Option<(&'static str, CpuAffinity)>,
    nice: Option<i32>,
    open_files: Option<u32>,
    files: Option<LandlockPaths>,
}

/// A value, and what its author calls the option.
#[derive(Debug)]
pub(super) struct NamedValue {
    pub(super) option: &'static str,
    pub(super) value: String,
}

/// Which CPUs children run on; see [`Prefork::cpu_affinity`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CpuAffinity {
    /// `"auto"`: those that the master may use.
    Auto,
    /// `"0-3,8"`: these.
    Cpus(Vec<usize>),
}

impl CpuAffinity {
    /// Reads `0-3,8`; `None` if it is something else.
    pub(super) fn from_list(text: &str) -> Option<Self> {
        /// The system's own sets of CPUs end there.
        const MOST: usize = 1024;
        let mut cpus = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || last >= MOST {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(Self::Cpus(cpus))
    }
}

/// # Privileges and placement
///
/// The master keeps what it has. A child takes these on before any code of yours runs in it, with the
/// attribute `init` included; with the builder, what stands before `listen_and_serve` runs in the
/// child before that, and must not have started a thread.
impl Prefork {
    /// The user that children run as, by name or number: the master binds the address as root, and no
    /// child has root's privileges. The groups are those of the user, unless [`group`](Self::group)
    /// names another primary one. On Linux a child also drops every capability.
    ///
    /// The child finds out whether it can get anything back, and ends if so.
    pub fn user(mut self, user: impl ToString) -> Self {
        let option = self.note_author("user");
        self.privileges.user = Some(NamedValue { option, value: user.to_string() });
        self
    }

    /// The primary group of children, by name or number; goes with [`user`](Self::user). Default: the
    /// user's own.
    pub fn group(mut self, group: impl ToString) -> Self {
        let option = self.note_author("group");
        self.privileges.group = Some(NamedValue { option, value: group.to_string() });
        self
    }

    /// Whether the programs that children execute may have no more privileges than the children: what
    /// `sudo` and other set-user-id programs are for does not work in them. Linux only. Default: no.
    pub fn no_new_privs(mut self, no_new_privs: bool) -> Self {
        let value = self.read("no_new_privs", no_new_privs);
        self.privileges.no_new_privs = value.unwrap_or(self.privileges.no_new_privs);
        self
    }

    /// Pins each child to one CPU, as a [`CpuAffinity`] or as text: `"auto"` for the CPUs that the
    /// master may use, or a list such as `"0-3,8"`. The child of slot i gets the i-th, counted round.
    /// With `reuseport` the kernel prefers, for a connection whose packets arrive on that CPU, that
    /// child's socket. Linux only. Default: any CPU.
    pub fn cpu_affinity(mut self, cpus: impl OptionValue<CpuAffinity>) -> Self {
        if let Some(cpus) = self.read("cpu_affinity", cpus) {
            let option = self.note_author("cpu_affinity");
            self.privileges.cpu_affinity = Some((option, cpus));
        }
        self
    }

    /// The priority of children, from -20 (first) to 19 (last). A smaller number than the master's own
    /// wants root. Default: the master's.
    pub fn nice(mut self, nice: i32) -> Self {
        self.privileges.nice = self.read_in("nice", nice, NICE).or(self.privileges.nice);
        self
    }

    /// How many files and sockets a child may have open: the soft limit. More than the hard limit
    /// wants root, who raises that too. Default: the master's limit.
    pub fn rlimit_nofile(mut self, limit: u32) -> Self {
        let limit = self.read_in("rlimit_nofile", limit, OPEN_FILES);
        self.privileges.open_files = limit.or(self.privileges.open_files);
        self
    }

    /// With this option or [`landlock_write`](Self::landlock_write), children can open nothing of the
    /// file system but what is named: these files, and all beneath these directories, to read and to
    /// execute. Descriptors that are open stay so. Implies [`no_new_privs`](Self::no_new_privs).
    ///
    /// For Linux 6.2 or newer, with the feature `landlock`; refused elsewhere. A child may always use
    /// `/dev/null` and what `/proc` tells of itself.
    pub fn landlock_read<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.note_author("landlock_read");
        let read = &mut self.privileges.files.get_or_insert_default().read;
        *read = paths.into_iter().map(Into::into).collect();
        self
    }

    /// As [`landlock_read`](Self::landlock_read), to write, create and remove as well.
    pub fn landlock_write<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.note_author("landlock_write");
        let write = &mut self.privileges.files.get_or_insert_default().write;
        *write = paths.into_iter().map(Into::into).collect();
        self
    }
}

impl PrivilegeOptions {
    /// What the options mean here: the privileges of every child, and the CPUs to go round.
    ///
    /// `bound` are the privileges that this process itself is under, if it is a child on trial: what
    /// its master may do cannot be seen from there.
    pub(super) fn resolve(&self, bound: &Privileges) -> Result<(Privileges, Vec<usize>), Error> {
        if bound.files.is_some() {
            // Not even the user database need be readable.
            return Ok((Privileges::default(), Vec::new()));
        }
        let privileges = Privileges {
            identity: self.identity()?,
            no_new_privs: self.no_new_privs,
            nice: self.nice,
            open_files: self.open_files.map(u64::from),
            cpu: None,
            files: self.files.clone(),
        };
        if *bound != Privileges::default() {
            return Ok((privileges, Vec::new()));
        }
        self.check_means(&privileges)?;
        Ok((privileges, self.cpus()?))
    }

    fn identity(&self) -> Result<Option<Identity>, Error> {
        let Some(NamedValue { option, value }) = &self.user else {
            return match &self.group {
                Some(NamedValue { option, value }) => Err(bad(option, value, "the option `user` beside it")),
                None => Ok(None),
            };
        };
        let lookup = |source| Error::Privileges { attempt: format!("look up the user {value}"), source };
        let user = sys::find_user(value).map_err(lookup)?;
        let group = match &self.group {
            Some(NamedValue { option, value }) => {
                let found = sys::find_group(value).map_err(lookup)?;
                Some(found.ok_or_else(|| bad(option, value, "a group of this system, by name or number"))?)
            }
            None => None,
        };
        let (uid, gid, groups) = match (user, group) {
            (Some(user), group) => {
                let gid = group.unwrap_or(user.gid);
                (user.uid, gid, sys::groups_of(&user.name, gid).map_err(lookup)?)
            }
            // A number needs no entry, but then nothing tells the group.
            (None, Some(gid)) if value.parse::<u32>().is_ok() => {
                (value.parse().unwrap_or(u32::MAX), gid, Vec::new())
            }
            (None, None) if value.parse::<u32>().is_ok() => {
                return Err(bad(
                    option,
                    value,
                    "a user with an entry in the system's list, or `group` as well",
                ));
            }
            (None, _) => return Err(bad(option, value, "a user of this system, by name or number")),
        };
        if uid == 0 || uid == u32::MAX {
            return Err(bad(option, value, "a user other than root, whose privileges children are to lose"));
        }
        let groups = groups.into_iter().filter(|group| *group != gid).collect();
        Ok(Some(Identity { uid, gid, groups }))
    }

    /// Whether this process has what it takes.
    fn check_means(&self, privileges: &Privileges) -> Result<(), Error> {
        let refusal = |attempt: String| move |source| Error::Privileges { attempt, source };
        if let Some(NamedValue { value, .. }) = &self.user {
            sys::check_may_change_user().map_err(refusal(format!("run children as {value}")))?;
        }
        if let Some(nice) = privileges.nice {
            sys::check_nice(nice).map_err(refusal(format!("run children with nice {nice}")))?;
        }
        if let Some(limit) = privileges.open_files {
            sys::check_open_files(limit).map_err(refusal(format!("set rlimit_nofile to {limit}")))?;
        }
        if privileges.no_new_privs {
            sys::check_no_new_privs().map_err(refusal("run children with no_new_privs".to_owned()))?;
        }
        if let Some(files) = &privileges.files {
            sys::check_landlock().map_err(refusal("confine children with Landlock".to_owned()))?;
            for path in files.read.iter().chain(&files.write) {
                path.metadata().map_err(refusal(format!("open {} to children", path.display())))?;
            }
        }
        Ok(())
    }

    fn cpus(&self) -> Result<Vec<usize>, Error> {
        let Some((option, wanted)) = &self.cpu_affinity else { return Ok(Vec::new()) };
        let cannot = |source| Error::Privileges { attempt: "pin children to CPUs".to_owned(), source };
        let allowed = sys::allowed_cpus().map_err(cannot)?;
        let CpuAffinity::Cpus(cpus) = wanted else { return Ok(allowed) };
        match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => {
                let list: Vec<String> = allowed.iter().map(usize::to_string).collect();
                Err(bad(option, cpu, format!("CPUs that this process may use: {}", list.join(","))))
            }
            None => Ok(cpus.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        let cases = [("0", vec![0]), ("0-3,8", vec![0, 1, 2, 3, 8]), (" 1, 1 ,0", vec![1, 1, 0])];
        for (text, cpus) in cases {
            assert_eq!(CpuAffinity::from_list(text), Some(CpuAffinity::Cpus(cpus)), "{text}");
        }
        for text in ["", "x", "3-1", "-1", "1-", "0,,1", "0-1024", "99999999999999999999"] {
            assert_eq!(CpuAffinity::from_list(text), None, "{text}");
        }
    }
}
