//! Landlock: confining a process to some files.

use std::io;

#[cfg(feature = "landlock")]
pub(crate) use enabled::{check_landlock, confine_to};

use crate::sys::LandlockPaths;

#[cfg(not(feature = "landlock"))]
pub(crate) fn check_landlock() -> io::Result<()> {
    confine_to(&LandlockPaths::default())
}

#[cfg(not(feature = "landlock"))]
pub(crate) fn confine_to(_files: &LandlockPaths) -> io::Result<()> {
    Err(io::Error::other("this program was built without the feature `landlock` of prefork"))
}

#[cfg(feature = "landlock")]
mod enabled {
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreated, RulesetCreatedAttr,
    };

    use super::{LandlockPaths, io};

    /// The first level that controls truncation, since Linux 6.2. It is the same on every kernel, so that
    /// none denies less than another.
    const LEVEL: ABI = ABI::V3;

    fn ruleset() -> io::Result<RulesetCreated> {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let created = ruleset.handle_access(AccessFs::from_all(LEVEL)).and_then(Ruleset::create);
        created.map_err(|_| io::Error::other("this kernel has no Landlock, or one older than Linux 6.2's"))
    }

    /// Whether children can be confined.
    pub(crate) fn check_landlock() -> io::Result<()> {
        ruleset().map(drop)
    }

    /// Denies this thread, and those that it starts later, every file but `files`.
    pub(crate) fn confine_to(files: &LandlockPaths) -> io::Result<()> {
        let (read, all) = (AccessFs::from_read(LEVEL), AccessFs::from_all(LEVEL));
        let mut ruleset = ruleset()?;
        for path in &files.read {
            ruleset = allow(ruleset, path, read)?.0;
        }
        for path in &files.write {
            ruleset = allow(ruleset, path, all)?.0;
        }
        ruleset = allow(ruleset, Path::new("/dev/null"), all)?.0;
        let (ruleset, own_directory) = allow(ruleset, Path::new("/proc/self"), read)?;
        // Stays open: the kernel would otherwise drop the directory's inode, and with it the rule.
        std::mem::forget(own_directory);
        ruleset.restrict_self().map_err(io::Error::other)?;
        Ok(())
    }

    fn allow(
        ruleset: RulesetCreated,
        path: &Path,
        access: BitFlags<AccessFs>,
    ) -> io::Result<(RulesetCreated, PathFd)> {
        let cannot = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
        let metadata = path.metadata().map_err(|error| cannot(&error))?;
        let access = if metadata.is_dir() { access } else { access & AccessFs::from_file(LEVEL) };
        let file = PathFd::new(path).map_err(|error| cannot(&error))?;
        let ruleset = ruleset.add_rule(PathBeneath::new(&file, access)).map_err(|error| cannot(&error))?;
        Ok((ruleset, file))
    }
}
