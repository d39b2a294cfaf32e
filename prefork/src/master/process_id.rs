//! The master's processes, as its reactor knows them.

use crate::supervisor::{ChildId, TemplateId};

/// A process that the master has started, or lets a template fork. Templates come first: what one says of the children
/// that it has forked is older than what they say themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProcessId {
    Template(TemplateId),
    Child(ChildId),
}

impl From<ChildId> for ProcessId {
    fn from(child: ChildId) -> Self {
        Self::Child(child)
    }
}

impl From<TemplateId> for ProcessId {
    fn from(template: TemplateId) -> Self {
        Self::Template(template)
    }
}
