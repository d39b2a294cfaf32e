//! Telling children about the leadership; who is the leader decides the supervisor.

use std::time::Instant;

use super::Master;
use crate::protocol::ToChild;
use crate::supervisor::{ChildId, Event};

impl Master {
    /// Tells a child that it is the leader. One that cannot be told is not.
    pub(super) fn lead(&mut self, child: ChildId) {
        if !self.send(child, &ToChild::Lead) {
            return self.supervisor.handle(Instant::now(), Event::Resigned(child));
        }
        if let Some(entry) = self.children.get(&child) {
            entry.report_leader(&self.plan.logger);
        }
    }

    pub(super) fn order_resignation(&mut self, child: ChildId) {
        self.send(child, &ToChild::Resign);
        if let Some(entry) = self.children.get(&child) {
            entry.report_resignation_ordered(&self.plan.logger);
        }
    }

    pub(super) fn on_resigned(&mut self, now: Instant, child: ChildId) {
        self.supervisor.handle(now, Event::Resigned(child));
        if let Some(entry) = self.children.get(&child) {
            entry.report_resigned(&self.plan.logger);
        }
    }
}
