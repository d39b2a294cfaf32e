//! Explores every sequence of events of a pure state machine, to a depth.
//!
//! Breadth first, so that the sequence that breaks a rule is a shortest one. It is printed when a rule panics.
//!
//! A state that was visited is not entered again. Two states are one if their [forms](form) are equal: what is left
//! of a state without what no decision depends on. Each step checks its rules also where it leads to a visited state.
//! From each state the friendly environment of the model has to lead to rest, in a bounded number of steps.

pub(crate) mod form;

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::hash::BuildHasherDefault;

/// A state machine, and all that can happen to it.
pub(crate) trait Model: Clone {
    type Step: Copy + Debug;

    /// What can happen next.
    fn steps(&self) -> Vec<Self::Step>;

    /// Takes a step, and panics if a rule is broken. Returns what could have happened in its place, as far as only the
    /// step shows it.
    fn take(&mut self, step: Self::Step) -> Vec<Self::Step>;

    /// The state without what no decision depends on, as a hash of 64 bits: among a million states the probability of
    /// two that are taken for one is 1 in 30 million.
    fn form(&self) -> u64;

    /// What happens next if all goes well; `None` once it is at rest.
    fn friendly(&self) -> Option<Self::Step>;
}

/// What an exploration has visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visited {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    /// The greatest number of friendly steps from a state to rest.
    pub(crate) longest_to_rest: usize,
}

impl fmt::Display for Visited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, transitions, longest_to_rest } = self;
        write!(
            out,
            "{states} states visited, {transitions} steps taken, at most {longest_to_rest} more to rest"
        )
    }
}

/// Whether states merge. Elsewhere `Debug` writes an `Instant` in another way, which [`form`] does not read; the machines
/// are the same on every system.
pub(crate) const STATES_MERGE: bool = cfg!(unix);

/// How many steps further an exploration goes than in the checks: a number in the environment.
const DEEPER: &str = "PREFORK_EXPLORE_DEEPER";
/// More friendly steps than any state needs to come to rest.
const MOST_TO_REST: usize = 400;

/// How a state was reached first.
struct Node<S> {
    before: usize,
    step: S,
}

struct Explorer<M: Model> {
    start: M,
    nodes: Vec<Node<M::Step>>,
    visited: HashSet<u64, BuildHasherDefault<form::Unhashed>>,
    /// The states of which it is known that they come to rest.
    restful: HashSet<u64, BuildHasherDefault<form::Unhashed>>,
    transitions: usize,
    longest_to_rest: usize,
}

/// Takes every sequence of at most `depth` steps from `start`; of any length, if there are no more states before.
pub(crate) fn explore<M: Model>(name: &str, start: M, depth: usize) -> Visited {
    let deeper = std::env::var(DEEPER).ok().map_or(0, |steps| steps.parse().expect("a number of steps"));
    let mut explorer = Explorer {
        visited: HashSet::from_iter([start.form()]),
        start,
        nodes: Vec::new(),
        restful: HashSet::default(),
        transitions: 0,
        longest_to_rest: 0,
    };
    explorer.come_to_rest(None, explorer.start.clone(), explorer.start.form());
    let mut level = explorer.expand(None);
    for _ in 1..depth + deeper {
        let reached = explorer.nodes.len();
        level.into_iter().for_each(|node| drop(explorer.expand(Some(node))));
        level = (reached..explorer.nodes.len()).collect();
        if level.is_empty() {
            break;
        }
    }
    let Explorer { visited, transitions, longest_to_rest, .. } = explorer;
    let visited = Visited { states: visited.len(), transitions, longest_to_rest };
    println!("{name}, {} steps deep: {visited}", depth + deeper);
    visited
}

impl<M: Model> Explorer<M> {
    /// Takes each step from a state. Returns the states that were not visited before.
    fn expand(&mut self, node: Option<usize>) -> Vec<usize> {
        let first = self.nodes.len();
        let state = self.replay(node);
        let mut steps = state.steps();
        while let Some(step) = steps.pop() {
            let mut next = state.clone();
            let steps_before = Told { explorer: self, node, step };
            let others = next.take(step);
            let form = next.form();
            drop(steps_before);
            steps.extend(others);
            self.transitions += 1;
            if self.visited.insert(form) {
                self.nodes.push(Node { before: node.unwrap_or(usize::MAX), step });
                self.come_to_rest(Some(self.nodes.len() - 1), next, form);
            }
        }
        (first..self.nodes.len()).collect()
    }

    /// The steps that lead to a state.
    fn path(&self, node: Option<usize>) -> Vec<M::Step> {
        let mut path = Vec::new();
        let mut at = node.unwrap_or(usize::MAX);
        while let Some(Node { before, step }) = self.nodes.get(at) {
            path.push(*step);
            at = *before;
        }
        path.reverse();
        path
    }

    /// A state is kept as the steps to it, which take less memory.
    fn replay(&self, node: Option<usize>) -> M {
        let mut state = self.start.clone();
        self.path(node).into_iter().for_each(|step| drop(state.take(step)));
        state
    }

    /// Checks that the friendly environment leads to rest.
    fn come_to_rest(&mut self, node: Option<usize>, mut state: M, mut form: u64) {
        let mut passed = Vec::new();
        while !self.restful.contains(&form) {
            passed.push(form);
            let Some(step) = state.friendly() else { break };
            let told = Told { explorer: self, node, step };
            assert!(passed.len() < MOST_TO_REST, "it does not come to rest");
            state.take(step);
            drop(told);
            form = state.form();
        }
        self.longest_to_rest = self.longest_to_rest.max(passed.len());
        self.restful.extend(passed);
    }
}

/// Prints how a state was reached, if a rule is broken there.
struct Told<'a, M: Model> {
    explorer: &'a Explorer<M>,
    node: Option<usize>,
    step: M::Step,
}

impl<M: Model> Drop for Told<'_, M> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for step in self.explorer.path(self.node) {
                eprintln!("after {step:?}");
            }
            eprintln!("a rule is broken by {:?}, or by a friendly step after it", self.step);
        }
    }
}
