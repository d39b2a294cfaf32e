//! The job object of a fleet: it ensures that nothing outlives the fleet.
//!
//! Windows ends the processes of such a job when its last handle is closed. The master has a handle, and each
//! child has one from the time it gets its listeners until its exit. So the children can drain after the
//! master's death. The exit of the last child ends the processes that the children have started, and any child
//! that has not got its listeners.
//!
//! A process that should outlive the fleet has to be started with `CREATE_BREAKAWAY_FROM_JOB`.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, IsProcessInJob, JOB_OBJECT_LIMIT_BREAKAWAY_OK,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, PROCESS_DUP_HANDLE, PROCESS_QUERY_INFORMATION, PROCESS_SET_QUOTA,
    PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
};

use super::object;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Job(OwnedHandle);

impl Job {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no attributes, no name.
        let job = object::owned(unsafe { CreateJobObjectW(ptr::null(), ptr::null()) })?;
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags =
            JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_BREAKAWAY_OK;
        let size = u32::try_from(size_of_val(&limits)).map_err(io::Error::other)?;
        let class = JobObjectExtendedLimitInformation;
        // SAFETY: the job is open; the system reads `size` bytes of limits.
        object::check(unsafe {
            SetInformationJobObject(job.as_raw_handle(), class, (&raw const limits).cast(), size)
        })?;
        Ok(Self(job))
    }

    /// Puts a process into the job, and with it all that it will start. Succeeds also if it has exited.
    pub(super) fn enclose(&self, process: BorrowedHandle<'_>) -> io::Result<()> {
        // SAFETY: both handles are open for as long as they are borrowed.
        let enclosed = object::check(unsafe {
            AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle())
        });
        match enclosed {
            Err(_) if object::wait_any(&[process], Some(Duration::ZERO))?.is_some() => Ok(()),
            Err(error) => Err(explained(&error)),
            Ok(()) => Ok(()),
        }
    }

    /// Gives the process with this pid a handle to the job, which its exit closes. It belongs to the fleet,
    /// but need not be the one that was [put into the job](Self::enclose) at its start: that may be a wrapper.
    pub(super) fn entrust_to(&self, pid: u32) -> io::Result<()> {
        let access = PROCESS_DUP_HANDLE
            | PROCESS_QUERY_INFORMATION
            | PROCESS_SET_QUOTA
            | PROCESS_SYNCHRONIZE
            | PROCESS_TERMINATE;
        // SAFETY: plain numbers; opening a process that does not exist is an error.
        let process = object::owned(unsafe { OpenProcess(access, 0, pid) })?;
        if !self.contains(process.as_handle())? {
            self.enclose(process.as_handle())?;
        }
        // Only its exit closes the handle: no code there knows the number.
        let mut theirs = ptr::null_mut();
        // SAFETY: all handles are open; the system writes the new one's number, which means nothing here.
        object::check(unsafe {
            DuplicateHandle(
                GetCurrentProcess(),
                self.0.as_raw_handle(),
                process.as_raw_handle(),
                &raw mut theirs,
                0,
                0,
                DUPLICATE_SAME_ACCESS,
            )
        })
        .map_err(|error| explained(&error))
    }

    fn contains(&self, process: BorrowedHandle<'_>) -> io::Result<bool> {
        let mut inside = 0;
        // SAFETY: both handles are open for as long as they are borrowed; the system writes the answer.
        object::check(unsafe {
            IsProcessInJob(process.as_raw_handle(), self.0.as_raw_handle(), &raw mut inside)
        })?;
        Ok(inside != 0)
    }
}

fn explained(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("it cannot be put into the fleet's job object: {error}"))
}
