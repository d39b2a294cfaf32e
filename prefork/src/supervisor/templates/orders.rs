//! The children that are to be forked: those whose order waits for a template, and those whose order was sent to one.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{ChildId, TemplateId};

/// How many orders a template has at the same time. It forks one child after the other, so more would not be faster;
/// and in each, the descriptors of a child are in flight: the kernel counts them for the user, and refuses more than a
/// process of that user may have open.
pub(super) const MOST_SENT: usize = 8;

/// A child that is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) child: ChildId,
    pub(crate) slot: usize,
    pub(crate) generation: u32,
}

/// An order that a template was sent, and that is not answered.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct SentOrder {
    pub(super) order: Order,
    pub(super) template: TemplateId,
    pub(super) until: Instant,
    /// Whether the child is needed no more.
    pub(super) withdrawn: bool,
    /// Whether it was not answered in time.
    pub(super) late: bool,
    /// Whether what its template has forked was killed, since no answer had come.
    pub(super) killed: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Orders {
    waiting: BTreeMap<(u32, ChildId), Order>,
    sent: BTreeMap<ChildId, SentOrder>,
}

impl Orders {
    pub(super) fn add(&mut self, order: Order) {
        self.waiting.insert((order.generation, order.child), order);
    }

    /// The next order for this template, which is sent it now; none if it has enough.
    pub(super) fn send_next(
        &mut self,
        generation: u32,
        template: TemplateId,
        until: Instant,
    ) -> Option<Order> {
        let unanswered = self.sent.values().filter(|sent| sent.template == template).count();
        if unanswered >= MOST_SENT {
            return None;
        }
        let (key, _) = self.waiting.range((generation, ChildId(0))..).next()?;
        let key = Some(*key).filter(|(of, _)| *of == generation)?;
        let order = self.waiting.remove(&key)?;
        let sent = SentOrder { order, template, until, withdrawn: false, late: false, killed: false };
        self.sent.insert(order.child, sent);
        Some(order)
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &SentOrder> {
        self.sent.values()
    }

    pub(super) fn sent_mut(&mut self) -> impl Iterator<Item = &mut SentOrder> {
        self.sent.values_mut()
    }

    pub(super) fn get_sent(&mut self, child: ChildId) -> Option<&mut SentOrder> {
        self.sent.get_mut(&child)
    }

    /// Removes an order that was sent.
    pub(super) fn remove_sent(&mut self, child: ChildId) -> Option<SentOrder> {
        self.sent.remove(&child)
    }

    /// Removes an order that waits.
    pub(super) fn remove_waiting(&mut self, child: ChildId) -> Option<Order> {
        let key = *self.waiting.keys().find(|(_, one)| *one == child)?;
        self.waiting.remove(&key)
    }

    /// Removes the orders of a generation that wait.
    pub(super) fn take_waiting(&mut self, generation: u32) -> Vec<Order> {
        let taken = self.waiting.values().copied().filter(|order| order.generation == generation).collect();
        self.waiting.retain(|(of, _), _| *of != generation);
        taken
    }
}
