//! What Linux and Android alone have. Each file is the Linux half of a subject whose common half, where
//! there is one, has the same name in `unix/`; `fallback/` has the same names for the other Unixes.

pub(in crate::sys) mod accept_calls;
pub(in crate::sys) mod decoy;
pub(in crate::sys) mod descriptors;
pub(in crate::sys) mod epoll;
pub(in crate::sys) mod io_uring;
pub(in crate::sys) mod landlock;
pub(in crate::sys) mod listener;
pub(in crate::sys) mod privileges;
pub(in crate::sys) mod process;
pub(in crate::sys) mod program;
pub(in crate::sys) mod reactor;
pub(in crate::sys) mod steering;
pub(in crate::sys) mod tcp_info;
pub(in crate::sys) mod title;
