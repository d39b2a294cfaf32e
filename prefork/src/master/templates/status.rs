//! What the endpoints tell of the templates.

use std::time::Instant;

use super::TemplateSet;
use crate::supervisor::TemplateState;

/// The template of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TemplateStatus {
    pub(crate) generation: u32,
    /// `None` while it waits for its next process. A killed one may not have exited yet.
    pub(crate) pid: Option<u32>,
    pub(crate) state: TemplateState,
    /// When the next process of one that waits is started, at the latest.
    pub(crate) starts_at: Option<Instant>,
}

impl TemplateSet {
    /// The template of each generation that children may be started of, in their order.
    pub(in crate::master) fn status(&self) -> Vec<TemplateStatus> {
        let states = self.machine.states();
        let status = states.map(|(generation, id, state, starts_at)| {
            let entry = self.entries.get(&id).filter(|_| state != TemplateState::Waiting);
            let state = match (state, entry) {
                // It loads nothing before it knows what it is.
                (TemplateState::Loading, Some(entry)) if !entry.took_handshake => TemplateState::Starting,
                _ => state,
            };
            TemplateStatus { generation, pid: entry.map(|entry| entry.pid), state, starts_at }
        });
        status.collect()
    }
}
