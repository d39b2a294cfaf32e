//! What `ps` and `top` show of a process.
//!
//! Two things: a name of 15 bytes, which `top` shows, and the arguments, which `ps` shows. The
//! arguments' own memory is left alone, for `std::env::args` reads it whenever it is asked: the kernel
//! is told to show other memory in its place.

use std::ffi::{CStr, CString};
use std::io;

/// Shows `title` in place of the arguments, and `name` in place of the program's name, of which no
/// more than 15 bytes count. Cosmetic: what the system does not do stays as it was.
pub(crate) fn set_title(title: &str, name: &str) {
    if let (Ok(title), Ok(name)) = (CString::new(title), CString::new(name)) {
        let _ = show(title, &name);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn show(title: CString, name: &CStr) -> io::Result<()> {
    nix::sys::prctl::set_name(name)?;
    memory_map::show_arguments(title)
}

#[cfg(any(target_os = "freebsd", target_os = "dragonfly", target_os = "netbsd", target_os = "openbsd"))]
fn show(title: CString, _name: &CStr) -> io::Result<()> {
    // SAFETY: both are C strings, and the first, whose dash leaves out the program's name, takes one.
    unsafe { nix::libc::setproctitle(c"-%s".as_ptr(), title.as_ptr()) };
    Ok(())
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
fn show(_title: CString, _name: &CStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod memory_map {
    use std::ffi::CString;
    use std::fs;
    use std::io;
    use std::ptr;

    use nix::libc;

    use crate::sys::unix::linux;

    /// `struct prctl_mm_map` of linux/prctl.h.
    #[repr(C)]
    struct MemoryMap {
        start_code: u64,
        end_code: u64,
        start_data: u64,
        end_data: u64,
        start_brk: u64,
        brk: u64,
        start_stack: u64,
        arg_start: u64,
        arg_end: u64,
        env_start: u64,
        env_end: u64,
        auxv: *mut u64,
        auxv_size: u32,
        exe_fd: u32,
    }

    /// Wants no privilege where the kernel can restore checkpoints, which those of the distributions can.
    pub(super) fn show_arguments(title: CString) -> io::Result<()> {
        // Another thread could move the end of the heap between the look at it and the call.
        if !linux::is_single_threaded() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let stat = fs::read_to_string("/proc/self/stat")?;
        // The name in parentheses may hold anything; the third field comes after it.
        let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| -> io::Result<u64> {
            let field = fields.get(number - 3).and_then(|field| field.parse().ok());
            Ok(field.ok_or(io::ErrorKind::InvalidData)?)
        };
        let mut map = MemoryMap {
            start_code: field(26)?,
            end_code: field(27)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            brk: 0,
            start_stack: field(28)?,
            arg_start: 0,
            arg_end: 0,
            env_start: field(50)?,
            env_end: field(51)?,
            auxv: ptr::null_mut(),
            auxv_size: 0,
            // None: the file stays what it is.
            exe_fd: u32::MAX,
        };
        let size = libc::c_ulong::try_from(size_of::<MemoryMap>()).map_err(io::Error::other)?;
        let length = u64::try_from(title.as_bytes_with_nul().len()).map_err(io::Error::other)?;
        // For the rest of the process's life, the kernel reads there.
        let title = title.into_raw();
        map.arg_start = u64::try_from(title.addr()).map_err(io::Error::other)?;
        map.arg_end = map.arg_start + length;
        // SAFETY: nothing is asked for but where the heap ends.
        map.brk = u64::try_from(unsafe { libc::sbrk(0) }.addr()).map_err(io::Error::other)?;
        // SAFETY: the kernel reads one map of that size. What it holds is what is so already, the
        // arguments' place apart, which is only ever shown; nothing has allocated since the look at the
        // end of the heap, for this is the only thread.
        let result = unsafe {
            libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size, 0 as libc::c_ulong)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
