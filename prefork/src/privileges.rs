//! Under which privileges a child runs: as which user, on which CPU, within which limits.
//!
//! The master finds out what the options mean on this machine and tells each child with the greeting.
//! The child takes the privileges on right after that, before any code of the user's runs; one that
//! cannot ends with a line that says why, and never goes on with more than it was to have.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::error::Error;
use crate::protocol::codec::{escape, unescape};
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
    /// As fields of a greeting, each after a blank.
    pub(crate) fn to_fields(&self) -> String {
        let mut fields = String::new();
        // `write!` to a String cannot fail.
        if let Some(Identity { uid, gid, groups }) = &self.identity {
            let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
            let _ = write!(fields, " uid={uid} gid={gid} groups={}", groups.join(","));
        }
        if self.no_new_privs {
            fields.push_str(" no_new_privs=true");
        }
        if let Some(nice) = self.nice {
            let _ = write!(fields, " nice={nice}");
        }
        if let Some(limit) = self.open_files {
            let _ = write!(fields, " open_files={limit}");
        }
        if let Some(cpu) = self.cpu {
            let _ = write!(fields, " cpu={cpu}");
        }
        if let Some(LandlockPaths { read, write }) = &self.files {
            let _ = write!(fields, " read={} write={}", encode(read), encode(write));
        }
        fields
    }

    /// Reads a field of a greeting; `None` if its value cannot be. A name that is not of this module
    /// changes nothing.
    pub(crate) fn read_field(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "uid" => self.identity_mut().uid = value.parse().ok()?,
            "gid" => self.identity_mut().gid = value.parse().ok()?,
            "groups" => {
                let groups = value.split(',').filter(|group| !group.is_empty());
                self.identity_mut().groups = groups.map(|group| group.parse().ok()).collect::<Option<_>>()?;
            }
            "no_new_privs" => self.no_new_privs = value.parse().ok()?,
            "nice" => self.nice = Some(value.parse().ok()?),
            "open_files" => self.open_files = Some(value.parse().ok()?),
            "cpu" => self.cpu = Some(value.parse().ok()?),
            "read" => self.files.get_or_insert_default().read = decode(value)?,
            "write" => self.files.get_or_insert_default().write = decode(value)?,
            _ => {}
        }
        Some(())
    }

    fn identity_mut(&mut self) -> &mut Identity {
        // Numbers that mean nobody, and that the system refuses, until the fields have been read.
        self.identity.get_or_insert(Identity { uid: u32::MAX, gid: u32::MAX, groups: Vec::new() })
    }

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

/// Paths with colons between them.
fn encode(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| escape(path.as_os_str())).collect::<Vec<_>>().join(":")
}

fn decode(text: &str) -> Option<Vec<PathBuf>> {
    text.split(':').filter(|path| !path.is_empty()).map(|path| unescape(path).map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Option<Privileges> {
        let mut privileges = Privileges::default();
        for (name, value) in fields.split_whitespace().filter_map(|field| field.split_once('=')) {
            privileges.read_field(name, value)?;
        }
        Some(privileges)
    }

    #[test]
    fn conditions_survive_the_wire() {
        let all = Privileges {
            identity: Some(Identity { uid: 33, gid: 34, groups: vec![4, 100] }),
            no_new_privs: true,
            nice: Some(-5),
            open_files: Some(65_536),
            cpu: Some(3),
            files: Some(LandlockPaths {
                read: vec!["/etc/ssl".into(), "/srv/with space, 100% =:\u{e9}".into()],
                write: vec!["/var/lib/app".into()],
            }),
        };
        let alone = Identity { uid: 1, gid: 1, groups: Vec::new() };
        let some = Privileges {
            identity: Some(alone),
            files: Some(LandlockPaths::default()),
            ..Privileges::default()
        };
        for privileges in [all, some, Privileges::default()] {
            assert_eq!(read(&privileges.to_fields()), Some(privileges));
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for fields in ["uid=", "uid=-1", "groups=1,x", "nice=low", "cpu=x", "read=/%4", "write=/%zz"] {
            assert_eq!(read(fields), None, "{fields}");
        }
    }

    #[test]
    fn half_an_identity_is_nobodys() {
        assert_eq!(read("gid=33").unwrap().identity.unwrap().uid, u32::MAX);
    }
}
