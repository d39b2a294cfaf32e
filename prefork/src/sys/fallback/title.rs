//! The title of a process in `ps`.

#[cfg(any(target_os = "freebsd", target_os = "dragonfly", target_os = "netbsd", target_os = "openbsd"))]
pub(crate) fn set_title(title: &str, _name: &str) {
    if let Ok(title) = std::ffi::CString::new(title) {
        // SAFETY: both are C strings; the format takes one, and its dash leaves out the program's name.
        unsafe { nix::libc::setproctitle(c"-%s".as_ptr(), title.as_ptr()) };
    }
}

/// Does nothing: the title cannot be changed.
#[cfg(not(any(
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
pub(crate) fn set_title(_title: &str, _name: &str) {}
