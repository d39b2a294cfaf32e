//! Privileges. Windows lacks them or they differ there, so a master refuses the options.

use std::io;

use crate::sys::{Account, Identity, LandlockPaths};

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Windows cannot do that"))
}

pub(crate) fn find_user(_user: &str) -> io::Result<Option<Account>> {
    unsupported()
}

pub(crate) fn find_group(_group: &str) -> io::Result<Option<u32>> {
    unsupported()
}

pub(crate) fn groups_of(_user: &str, _primary: u32) -> io::Result<Vec<u32>> {
    unsupported()
}

pub(crate) fn check_may_change_user() -> io::Result<()> {
    unsupported()
}

pub(crate) fn change_user(_identity: &Identity) -> io::Result<()> {
    unsupported()
}

pub(crate) fn verify_user(_identity: &Identity) -> io::Result<()> {
    unsupported()
}

pub(crate) fn check_nice(_nice: i32) -> io::Result<()> {
    unsupported()
}

pub(crate) fn set_nice(_nice: i32) -> io::Result<()> {
    unsupported()
}

pub(crate) fn check_open_files(_limit: u64) -> io::Result<()> {
    unsupported()
}

pub(crate) fn limit_open_files(_limit: u64) -> io::Result<()> {
    unsupported()
}

pub(crate) fn check_no_new_privs() -> io::Result<()> {
    unsupported()
}

pub(crate) fn set_no_new_privs() -> io::Result<()> {
    unsupported()
}

pub(crate) fn has_no_new_privs() -> io::Result<bool> {
    unsupported().map(|()| false)
}

pub(crate) fn refuse_tracing() -> io::Result<()> {
    unsupported()
}

pub(crate) fn restore_access_to_itself() -> io::Result<()> {
    unsupported()
}

pub(crate) fn check_landlock() -> io::Result<()> {
    unsupported()
}

pub(crate) fn confine_to(_files: &LandlockPaths) -> io::Result<()> {
    unsupported()
}

pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    unsupported()
}

pub(crate) fn pin_to_cpu(_cpu: usize) -> io::Result<()> {
    unsupported()
}
