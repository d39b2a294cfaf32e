//! Linux and Android. A file holds what differs from the other Unixes in the subject of the file of the same
//! name in `unix/`, if there is one. `fallback/` has the same files for the other Unixes.

pub(in crate::sys) mod accept_calls;
pub(in crate::sys) mod decoy;
pub(in crate::sys) mod descriptors;
pub(in crate::sys) mod epoll;
pub(in crate::sys) mod fork;
pub(in crate::sys) mod huge_pages;
pub(in crate::sys) mod io_uring;
pub(in crate::sys) mod landlock;
pub(in crate::sys) mod listener;
pub(in crate::sys) mod poller;
pub(in crate::sys) mod privileges;
pub(in crate::sys) mod process;
pub(in crate::sys) mod program;
pub(in crate::sys) mod reactor;
pub(in crate::sys) mod shared_memory;
pub(in crate::sys) mod steering;
pub(in crate::sys) mod tcp_info;
pub(in crate::sys) mod title;
pub(in crate::sys) mod usage;
