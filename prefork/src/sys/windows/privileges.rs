//! Users, limits and places are other things on Windows: no child takes any on, and a master refuses
//! the options.

use std::io;

use socket2::Socket;

use crate::privileges::{Identity, LandlockPaths};
use crate::sys::Account;

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Windows knows nothing of the kind"))
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

pub(crate) fn assume(_identity: &Identity) -> io::Result<()> {
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

pub(crate) fn refuse_new_privileges() -> io::Result<()> {
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

/// No slot has a socket of its own.
pub(crate) fn prefer_cpu(_socket: &Socket, _cpu: Option<usize>) -> io::Result<()> {
    Ok(())
}

/// Nothing is taken on that would be one thread's.
pub(crate) fn other_threads() -> usize {
    0
}
