//! The identity of this process in its fleet.

use std::fmt;
use std::sync::OnceLock;

/// The identity of this process in its fleet. It displays as `master`, as `child 3`, or as `template`: the process that
/// has loaded what [`Preloaded`](crate::Preloaded) gives.
///
/// A logger can add it to every record; here with env_logger:
///
/// ```ignore
/// fn init() {
///     env_logger::builder()
///         .format(|out, record| writeln!(out, "[{}] {} {}", prefork::this_process(), record.level(), record.args()))
///         .init();
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThisProcess {
    slot: Option<usize>,
    /// `None` in the master.
    generation: Option<u32>,
}

impl ThisProcess {
    /// The slot, in a child.
    #[must_use]
    pub fn slot(&self) -> Option<usize> {
        self.slot
    }

    /// The generation, in a child or a template: the number of reloads before it was started.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        self.generation
    }

    pub(crate) fn is_template(&self) -> bool {
        self.slot.is_none() && self.generation.is_some()
    }
}

impl fmt::Display for ThisProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Some(slot) => write!(f, "child {slot}"),
            None if self.is_template() => f.write_str("template"),
            None => f.write_str("master"),
        }
    }
}

/// Slot and generation, in a child.
static CHILD: OnceLock<(usize, u32)> = OnceLock::new();

/// The generation, in a template and in what it has forked.
static TEMPLATE: OnceLock<u32> = OnceLock::new();

/// The identity of this process in its fleet. With the attribute it is known in `init` already; with the
/// builder, a child knows it from `listen_and_serve` on.
#[must_use]
pub fn this_process() -> ThisProcess {
    match (CHILD.get(), TEMPLATE.get()) {
        (Some((slot, generation)), _) => ThisProcess { slot: Some(*slot), generation: Some(*generation) },
        (None, generation) => ThisProcess { slot: None, generation: generation.copied() },
    }
}

/// Records that this process is a child.
pub(crate) fn note_child(slot: usize, generation: u32) {
    // A process becomes a child once.
    let _ = CHILD.set((slot, generation));
}

/// Records that this process is a template. A child that it forks becomes one by [`note_child`].
pub(crate) fn note_template(generation: u32) {
    // Once, as a child.
    let _ = TEMPLATE.set(generation);
}
