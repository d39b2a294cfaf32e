//! The metrics of one kind, by the name and the labels that the facade gives them.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::Key;

use super::super::layout::SERIES;
use super::names::metric_name;

/// See the [module](self).
pub(super) struct Table<H> {
    handles: HashMap<Key, Arc<H>>,
    families: HashMap<String, Family<H>>,
}

/// The metrics of one name, which is the facade's.
struct Family<H> {
    /// As Prometheus has it.
    name: &'static str,
    /// The sets of labels that have a handle, or are about to have one.
    sets: usize,
    /// Whether a set was refused. Those that the fleet has are added all the same.
    is_full: bool,
    /// For what is beyond the limit.
    other: Option<Arc<H>>,
}

/// What a new metric is.
pub(super) enum Reserved<H> {
    Known(Arc<H>),
    /// A series of this name, with labels of its own.
    Own(&'static str),
    /// What is beyond the limit of this name.
    Other(&'static str),
    /// One too many.
    Nothing,
}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self { handles: HashMap::new(), families: HashMap::new() }
    }
}

impl<H> Table<H> {
    pub(super) fn find(&self, key: &Key) -> Option<Arc<H>> {
        self.handles.get(key).cloned()
    }

    /// The handle for what is beyond the limit of a metric's name, if that is reached; and the name.
    pub(super) fn find_other(&self, key: &Key) -> Option<(&'static str, Arc<H>)> {
        let family = self.families.get(key.name()).filter(|family| family.is_full)?;
        Some((family.name, family.other.clone()?))
    }

    /// Reserves a place for a metric that [`find`](Self::find) does not know. Of each name there are at most `most`.
    pub(super) fn reserve(&mut self, key: &Key, fits: bool, most: usize) -> Reserved<H> {
        // Another thread may have added it.
        if let Some(known) = self.find(key) {
            return Reserved::Known(known);
        }
        if self.handles.len() >= 2 * SERIES || self.families.len() >= 2 * SERIES {
            return Reserved::Nothing;
        }
        let family = self.families.entry(key.name().to_owned()).or_insert_with(|| Family {
            name: String::leak(metric_name(key.name())),
            sets: 0,
            is_full: false,
            other: None,
        });
        if fits && family.sets < most {
            family.sets += 1;
            return Reserved::Own(family.name);
        }
        match &family.other {
            Some(other) if !fits || family.is_full => Reserved::Known(Arc::clone(other)),
            _ => Reserved::Other(family.name),
        }
    }

    /// Adds the handle of a place that was reserved. Returns the one that another thread has added meanwhile, if any.
    pub(super) fn insert(&mut self, key: &Key, handle: H) -> Arc<H> {
        if let Some(known) = self.handles.get(key) {
            if let Some(family) = self.families.get_mut(key.name()) {
                family.sets -= 1;
            }
            return Arc::clone(known);
        }
        let handle = Arc::new(handle);
        self.handles.insert(key.to_retained(), Arc::clone(&handle));
        handle
    }

    /// Adds the handle for what is beyond the limit. `had_place` is whether a place was reserved, for which the fleet
    /// has no room. Returns whether the family has become full.
    pub(super) fn insert_other(
        &mut self,
        key: &Key,
        handle: H,
        had_place: bool,
        most: usize,
    ) -> (Arc<H>, bool) {
        let Some(family) = self.families.get_mut(key.name()) else { return (Arc::new(handle), false) };
        let is_full = had_place || family.sets >= most;
        let is_newly_full = is_full && !family.is_full;
        family.is_full |= is_full;
        family.sets -= usize::from(had_place);
        (Arc::clone(family.other.get_or_insert_with(|| Arc::new(handle))), is_newly_full)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.handles.len()
    }
}
