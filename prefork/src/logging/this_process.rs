//! The identity of this process in its fleet.

use std::fmt;
use std::sync::OnceLock;

/// The identity of this process in its fleet. It displays as `master` or as `child 3`.
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
pub struct ThisProcess(Option<(usize, u32)>);

impl ThisProcess {
    /// The slot, in a child.
    #[must_use]
    pub fn slot(&self) -> Option<usize> {
        self.0.map(|(slot, _)| slot)
    }

    /// The child's generation, in a child: the number of reloads before it was started.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        self.0.map(|(_, generation)| generation)
    }
}

impl fmt::Display for ThisProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((slot, _)) => write!(f, "child {slot}"),
            None => f.write_str("master"),
        }
    }
}

/// Slot and generation, in a child.
static CHILD: OnceLock<(usize, u32)> = OnceLock::new();

/// The identity of this process in its fleet. With the attribute it is known in `init` already; with the
/// builder, a child knows it from `listen_and_serve` on.
#[must_use]
pub fn this_process() -> ThisProcess {
    ThisProcess(CHILD.get().copied())
}

/// Records that this process is a child.
pub(crate) fn note_child(slot: usize, generation: u32) {
    // A process becomes a child once.
    let _ = CHILD.set((slot, generation));
}
