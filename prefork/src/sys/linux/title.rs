//! The title of a process in `ps` and `top`.
//!
//! It has two parts: a name of 15 bytes, which `top` shows, and the arguments, which `ps` shows. The memory
//! of the arguments is not changed, because `std::env::args` reads it at every call. Instead, the kernel is
//! told to show other memory.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};

use nix::libc;

use super::process;

/// Shows `title` in place of the arguments, and the first 15 bytes of `name` in place of the program's
/// name. Cosmetic: a refusal changes nothing.
pub(crate) fn set_title(title: &str, name: &str) {
    if let (Ok(title), Ok(name)) = (CString::new(title), CString::new(name)) {
        let _ = show(title, &name);
    }
}

fn show(title: CString, name: &CStr) -> io::Result<()> {
    nix::sys::prctl::set_name(name)?;
    show_arguments(title)
}

/// `struct prctl_mm_map` of linux/prctl.h. Without pointers that are followed, so it can be kept.
#[repr(C)]
#[derive(Clone, Copy)]
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
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// The map of the process with this pid, as it was read there.
static KNOWN: Mutex<Option<(u32, MemoryMap)>> = Mutex::new(None);

/// The present map, but for the end of the heap. A process that was forked has the same as the one that it is a copy of,
/// and one thread, as long as it is about to show its title: it does not look into `/proc`, which takes long.
fn memory_map() -> io::Result<MemoryMap> {
    let own = std::process::id();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, map)) = known.filter(|(pid, _)| *pid != own) {
        *known = Some((own, map));
        return Ok(map);
    }
    // Another thread could move the end of the heap between reading it and the call.
    if !process::is_single_threaded() {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let map = read_memory_map()?;
    *known = Some((own, map));
    Ok(map)
}

fn read_memory_map() -> io::Result<MemoryMap> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may contain anything; the third field comes after it.
    let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| -> io::Result<u64> {
        let field = fields.get(number - 3).and_then(|field| field.parse().ok());
        Ok(field.ok_or(io::ErrorKind::InvalidData)?)
    };
    Ok(MemoryMap {
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
        auxv: 0,
        auxv_size: 0,
        // No descriptor: the executable stays the same.
        exe_fd: u32::MAX,
    })
}

/// Needs no privilege where the kernel is built with checkpoint/restore, as distributions build it.
fn show_arguments(title: CString) -> io::Result<()> {
    let mut map = memory_map()?;
    let size = libc::c_ulong::try_from(size_of::<MemoryMap>()).map_err(io::Error::other)?;
    let length = u64::try_from(title.as_bytes_with_nul().len()).map_err(io::Error::other)?;
    // Never freed: the kernel reads there for the rest of the process's life.
    let title = title.into_raw();
    map.arg_start = u64::try_from(title.addr()).map_err(io::Error::other)?;
    map.arg_end = map.arg_start + length;
    // SAFETY: a change of 0 only returns the end of the heap.
    map.brk = u64::try_from(unsafe { libc::sbrk(0) }.addr()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads one map of that size. Its values are the present ones, except the place of
    // the arguments, which is only shown. Nothing has allocated since the end of the heap was read,
    // because this is the only thread.
    let result = unsafe {
        libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size, 0 as libc::c_ulong)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
