//! What the driver of a stop looks at.

/// What one look has found. A field that was not [`Wanted`] is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::child) struct Seen {
    /// The number of queued connections, if the system can tell.
    pub(in crate::child) queued: Option<u32>,
    /// What threads do in `accept`, if the system can tell.
    pub(in crate::child) accepts: Option<SeenAccepts>,
    /// Whether an accepted connection has just brought bytes, or waits for its first ones, if the system
    /// can tell.
    pub(in crate::child) active: Option<bool>,
    /// Whether an accepted connection is open.
    pub(in crate::child) connected: bool,
    pub(in crate::child) server: ServerProgress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::child) struct SeenAccepts {
    /// The number of threads that wait in `accept`.
    pub(in crate::child) waiting: usize,
    /// Whether a thread may be returning with a connection that has no descriptor yet.
    pub(in crate::child) unfinished: bool,
}

/// How far the serve function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::child) struct ServerProgress {
    /// Whether it took a [`Shutdown`](crate::Shutdown), so that it returns by itself.
    pub(in crate::child) cooperates: bool,
    pub(in crate::child) returned: bool,
}

/// What the next look has to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::child) struct Wanted {
    pub(in crate::child) queued: bool,
    pub(in crate::child) accepts: bool,
    pub(in crate::child) active: bool,
    pub(in crate::child) connected: bool,
}
