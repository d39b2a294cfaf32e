//! What is known of all elements of a collection without a walk over them: how many have a property, and which
//! deadline comes first. So the cost of an event does not depend on the size of the fleet.
//!
//! An element is changed through [`Edit`], which keeps the sums right.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

/// An element of such a collection, with `N` properties that are counted.
pub(super) trait Summed<const N: usize> {
    type Key: Copy + Ord;

    fn properties(&self) -> [bool; N];

    /// When it has to be looked at, unless an event comes first.
    fn deadline(&self) -> Option<Instant>;
}

/// See the [module](self).
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Sums<K, const N: usize> {
    counts: [usize; N],
    deadlines: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord, const N: usize> Sums<K, N> {
    pub(super) fn new() -> Self {
        Self { counts: [0; N], deadlines: BTreeSet::new() }
    }

    /// The number of elements that have this property.
    pub(super) fn count(&self, property: usize) -> usize {
        self.counts[property]
    }

    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The elements whose deadline has passed, in the order of their keys.
    pub(super) fn due(&self, now: Instant) -> BTreeSet<K> {
        self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect()
    }

    pub(super) fn add(&mut self, key: K, element: &impl Summed<N, Key = K>) {
        for (count, has) in self.counts.iter_mut().zip(element.properties()) {
            *count += usize::from(has);
        }
        self.deadlines.extend(element.deadline().map(|at| (at, key)));
    }

    pub(super) fn remove(&mut self, key: K, element: &impl Summed<N, Key = K>) {
        for (count, has) in self.counts.iter_mut().zip(element.properties()) {
            *count -= usize::from(has);
        }
        if let Some(at) = element.deadline() {
            self.deadlines.remove(&(at, key));
        }
    }

    /// Compares the sums with those of a walk.
    #[cfg(test)]
    pub(super) fn check<'a, T>(&self, elements: impl Iterator<Item = (K, &'a T)>)
    where
        K: std::fmt::Debug,
        T: Summed<N, Key = K> + 'a,
    {
        let mut sums = Self::new();
        elements.for_each(|(key, element)| sums.add(key, element));
        assert_eq!(sums, *self);
    }
}

/// An element that is being changed. The sums are without it meanwhile.
pub(super) struct Edit<'a, T: Summed<N>, const N: usize> {
    key: T::Key,
    element: &'a mut T,
    sums: &'a mut Sums<T::Key, N>,
}

impl<'a, T: Summed<N>, const N: usize> Edit<'a, T, N> {
    pub(super) fn new(key: T::Key, element: &'a mut T, sums: &'a mut Sums<T::Key, N>) -> Self {
        sums.remove(key, element);
        Self { key, element, sums }
    }
}

impl<T: Summed<N>, const N: usize> Deref for Edit<'_, T, N> {
    type Target = T;

    fn deref(&self) -> &T {
        self.element
    }
}

impl<T: Summed<N>, const N: usize> DerefMut for Edit<'_, T, N> {
    fn deref_mut(&mut self) -> &mut T {
        self.element
    }
}

impl<T: Summed<N>, const N: usize> Drop for Edit<'_, T, N> {
    fn drop(&mut self) {
        self.sums.add(self.key, self.element);
    }
}
