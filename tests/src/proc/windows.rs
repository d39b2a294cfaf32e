//! The state of processes, from snapshots and jobs.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, HandleOrInvalid, HandleOrNull, OwnedHandle};
use std::process::{Child, Command};
use std::ptr;

use windows_sys::Win32::Foundation::STILL_ACTIVE;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
    TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOBOBJECT_BASIC_PROCESS_ID_LIST, JobObjectBasicProcessIdList,
    QueryInformationJobObject,
};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, GetProcessHandleCount, OpenProcess, OpenThread, PROCESS_QUERY_INFORMATION,
    ResumeThread, SuspendThread, THREAD_SUSPEND_RESUME,
};
use windows_sys::core::BOOL;

/// A job, which contains all descendants too.
#[derive(Debug)]
pub(super) struct Marker(OwnedHandle);

impl Marker {
    pub(super) fn prepare(_command: &mut Command, _name: &str) -> Self {
        // SAFETY: no attributes and no name; the handle is new and owned here.
        let job = unsafe { HandleOrNull::from_raw_handle(CreateJobObjectW(ptr::null(), ptr::null())) };
        Self(job.try_into().expect("a job"))
    }

    /// Processes that the root has started before this call are missing.
    pub(super) fn add_root(&self, root: &Child) {
        // SAFETY: both handles are open while they are borrowed. The process may have ended.
        unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), root.as_raw_handle()) };
    }

    pub(super) fn live_pids(&self) -> Vec<u32> {
        // Listed first: a console host that ends meanwhile must still be recognized.
        let hosts = console_hosts();
        // The list begins with two counts; the pids follow.
        const MOST: usize = 512;
        let mut list = [0_usize; 1 + MOST];
        let size = u32::try_from(size_of_val(&list)).expect("a small list");
        let place = list.as_mut_ptr().cast::<JOBOBJECT_BASIC_PROCESS_ID_LIST>();
        // SAFETY: the system writes at most `size` bytes there; the list has the alignment of its pids.
        let listed = unsafe {
            let class = JobObjectBasicProcessIdList;
            QueryInformationJobObject(self.0.as_raw_handle(), class, place.cast(), size, ptr::null_mut())
        };
        check(listed).expect("the processes of a job");
        // SAFETY: the system has written the list.
        let count = unsafe { (*place).NumberOfProcessIdsInList };
        let pids = list[1..].iter().take(usize::try_from(count).expect("a count"));
        pids.map(|pid| u32::try_from(*pid).expect("a pid")).filter(|pid| !hosts.contains(pid)).collect()
    }
}

fn check(answer: BOOL) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A handle of a process or thread that may not exist.
fn opened(handle: *mut c_void) -> io::Result<OwnedHandle> {
    // SAFETY: the handle is new and owned by the caller.
    let handle = unsafe { HandleOrNull::from_raw_handle(handle) };
    OwnedHandle::try_from(handle).map_err(|_| io::Error::last_os_error())
}

fn snapshot(of: u32) -> OwnedHandle {
    // SAFETY: the arguments are numbers; the handle is new and owned here.
    let snapshot = unsafe { HandleOrInvalid::from_raw_handle(CreateToolhelp32Snapshot(of, 0)) };
    snapshot.try_into().expect("a snapshot")
}

fn all() -> Vec<PROCESSENTRY32W> {
    let snapshot = snapshot(TH32CS_SNAPPROCESS);
    let size = u32::try_from(size_of::<PROCESSENTRY32W>()).expect("a small entry");
    let mut entry = PROCESSENTRY32W { dwSize: size, ..PROCESSENTRY32W::default() };
    let mut processes = Vec::new();
    // SAFETY: the snapshot is open, and the entry knows its own size.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        processes.push(entry);
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    processes
}

/// System processes, one for each console. Each ends a moment after the last process of its console.
fn console_hosts() -> Vec<u32> {
    let name: Vec<u16> = "conhost.exe".encode_utf16().chain([0]).collect();
    let hosts = all().into_iter().filter(|process| process.szExeFile.starts_with(&name));
    hosts.map(|process| process.th32ProcessID).collect()
}

/// Whether the process exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    all().iter().any(|process| process.th32ProcessID == pid)
}

/// There are no templates.
pub fn is_template(_pid: u32) -> bool {
    false
}

/// The children of a process that have not ended, sorted.
pub fn children(pid: u32) -> Vec<u32> {
    let ours = all().into_iter().filter(|process| process.th32ParentProcessID == pid);
    let mut children: Vec<u32> = ours.map(|process| process.th32ProcessID).collect();
    children.sort_unstable();
    children
}

/// None: Windows has no zombies.
pub fn zombies(_pid: u32) -> Vec<u32> {
    Vec::new()
}

/// The number of threads of the process, including those that the system started.
pub fn thread_count(pid: u32) -> usize {
    let process = all().into_iter().find(|process| process.th32ProcessID == pid);
    process.map_or(0, |process| usize::try_from(process.cntThreads).expect("a count"))
}

/// Reports the exit status of a process that is about to lose its parent.
#[derive(Debug)]
pub struct ExitWatch(OwnedHandle);

impl ExitWatch {
    /// Watches the process `pid`.
    pub fn new(pid: u32) -> Self {
        // SAFETY: the arguments are numbers; a pid that does not exist is an error.
        let process = opened(unsafe { OpenProcess(PROCESS_QUERY_INFORMATION, 0, pid) });
        Self(process.expect("a process to look at"))
    }

    /// The exit status, if the process has ended.
    pub fn status(&self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: the process is open; the system writes the number.
        check(unsafe { GetExitCodeProcess(self.0.as_raw_handle(), &raw mut status) }).expect("its status");
        (status != STILL_ACTIVE.unsigned_abs()).then(|| i32::from_ne_bytes(status.to_ne_bytes()))
    }
}

/// The number of open handles of the process.
pub fn handle_count(pid: u32) -> usize {
    let mut count = 0;
    // SAFETY: the arguments are numbers; a pid that does not exist is an error.
    let process = opened(unsafe { OpenProcess(PROCESS_QUERY_INFORMATION, 0, pid) });
    let process = process.expect("a process to look at");
    // SAFETY: the process is open; the system writes the number.
    check(unsafe { GetProcessHandleCount(process.as_raw_handle(), &raw mut count) }).expect("its handles");
    usize::try_from(count).expect("a count")
}

/// Always 0: Windows does not report the owners of sockets.
pub fn held_listeners(_pid: u32, _port: u16) -> usize {
    0
}

/// The number of connections that a stopped process accepts: the pending `accept` takes one.
pub fn accepted_while_stopped() -> usize {
    1
}

/// Always true: [`stop`] returns when the threads are suspended.
pub fn is_stopped(_pid: u32) -> bool {
    true
}

/// Suspends every thread of a process.
pub(crate) fn stop(pid: u32) -> io::Result<()> {
    // SAFETY: the handle is open, belongs to a thread, and permits the call.
    on_every_thread(pid, |thread| unsafe { SuspendThread(thread) })
}

/// Resumes every thread of a process.
pub(crate) fn resume(pid: u32) -> io::Result<()> {
    // SAFETY: as above.
    on_every_thread(pid, |thread| unsafe { ResumeThread(thread) })
}

fn on_every_thread(pid: u32, act: impl Fn(*mut c_void) -> u32) -> io::Result<()> {
    let snapshot = snapshot(TH32CS_SNAPTHREAD);
    let size = u32::try_from(size_of::<THREADENTRY32>()).expect("a small entry");
    let mut entry = THREADENTRY32 { dwSize: size, ..THREADENTRY32::default() };
    // SAFETY: the snapshot is open, and the entry knows its own size.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == pid {
            // SAFETY: the arguments are numbers; an id that does not exist is an error.
            let thread = opened(unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, entry.th32ThreadID) });
            // The thread may have ended since the snapshot.
            if thread.is_ok_and(|thread| act(thread.as_raw_handle()) == u32::MAX) {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &raw mut entry) };
    }
    Ok(())
}
