//! A driver whose templates do what a test says, on a virtual clock.

use std::collections::BTreeMap;

use super::super::{Order, TemplateAction, TemplateId, TemplateRemark, Templates};
use super::*;

pub(super) const TIMEOUT: Duration = secs(10);

/// The answer to an order, as the driver learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Forked,
    Failed { transient: bool },
    Withdrawn,
}

/// A driver whose templates do what a test says.
pub(super) struct Driver {
    pub(super) templates: Templates,
    pub(super) now: Instant,
    /// Templates that live, and their generation.
    pub(super) living: BTreeMap<TemplateId, u32>,
    /// Orders that a template was sent.
    pub(super) sent: BTreeMap<ChildId, TemplateId>,
    pub(super) answers: BTreeMap<ChildId, Answer>,
    pub(super) remarks: Vec<TemplateRemark>,
    /// The ended templates of which what they had forked was killed.
    pub(super) killed_forked: Vec<TemplateId>,
    pub(super) started: usize,
    /// How long the driver takes for the next start of a process.
    pub(super) start_takes: Duration,
    pub(super) next_child: u64,
}

impl Driver {
    pub(super) fn new() -> Self {
        Self {
            templates: Templates::new(TIMEOUT),
            now: Instant::now(),
            living: BTreeMap::new(),
            sent: BTreeMap::new(),
            answers: BTreeMap::new(),
            remarks: Vec::new(),
            killed_forked: Vec::new(),
            started: 0,
            start_takes: Duration::ZERO,
            next_child: 0,
        }
    }

    /// A driver whose template of generation 0 is ready.
    pub(super) fn ready() -> Self {
        let mut driver = Self::new();
        let child = driver.order(0);
        driver.load(driver.last());
        driver.fork_all();
        assert_eq!(driver.answers.remove(&child), Some(Answer::Forked));
        driver.remarks.clear();
        driver
    }

    pub(super) fn last(&self) -> TemplateId {
        *self.living.keys().last().expect("a template lives")
    }

    pub(super) fn order(&mut self, generation: u32) -> ChildId {
        let child = ChildId(self.next_child);
        self.next_child += 1;
        self.templates.order(self.now, Order { child, slot: 0, generation });
        self.act();
        child
    }

    pub(super) fn load(&mut self, template: TemplateId) {
        self.templates.ready(self.now, template);
        self.act();
    }

    /// Every template forks what it was ordered.
    pub(super) fn fork_all(&mut self) {
        while !self.sent.is_empty() {
            for (child, _) in std::mem::take(&mut self.sent) {
                assert!(self.templates.answered(self.now, child), "{child:?} was answered before");
                self.answer(child, Answer::Forked);
            }
            self.act();
        }
    }

    /// Every template refuses what it was ordered.
    pub(super) fn refuse_all(&mut self) {
        let alive = self.sent.iter().filter(|(_, template)| self.living.contains_key(template));
        for child in alive.map(|(child, _)| *child).collect::<Vec<_>>() {
            self.templates.fork_failed(self.now, child, true);
        }
        self.act();
    }

    /// A template that has not loaded could not be started.
    pub(super) fn not_started(&mut self, template: TemplateId) {
        if !self.sent.values().any(|by| *by == template) {
            self.living.remove(&template);
            self.templates.start_failed(self.now, template, true);
            self.act();
        }
    }

    pub(super) fn end_held(&mut self, template: TemplateId) {
        self.living.remove(&template);
        self.templates.exited(self.now, template);
        self.act();
    }

    /// A template ends. The links of children that it has not forked end with it.
    pub(super) fn end(&mut self, template: TemplateId) {
        if self.living.remove(&template).is_none() {
            return;
        }
        self.templates.exited(self.now, template);
        let left: Vec<ChildId> =
            self.sent.iter().filter(|(_, by)| **by == template).map(|(child, _)| *child).collect();
        left.iter().for_each(|child| self.templates.link_ended(self.now, *child));
        self.act();
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.templates.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.templates.on_deadline(self.now);
            self.act();
            self.keep(|_| true);
        }
        self.now = end;
    }

    pub(super) fn keep(&mut self, is_needed: impl Fn(u32) -> bool) {
        self.templates.keep(is_needed);
        self.act();
    }

    pub(super) fn answer(&mut self, child: ChildId, answer: Answer) {
        self.sent.remove(&child);
        let before = self.answers.insert(child, answer);
        assert_eq!(before, None, "{child:?} is answered twice");
    }

    pub(super) fn act(&mut self) {
        let mut killed = Vec::new();
        while let Some(action) = self.templates.poll_action() {
            match action {
                TemplateAction::Start { template, generation } => {
                    assert!(!self.living.values().any(|living| *living == generation) || !killed.is_empty());
                    self.living.insert(template, generation);
                    self.started += 1;
                    self.now += std::mem::take(&mut self.start_takes);
                    self.templates.started(self.now, template);
                }
                TemplateAction::Fork { template, order } => {
                    assert!(self.living.contains_key(&template), "{template:?} is gone");
                    assert_eq!(self.sent.insert(order.child, template), None);
                }
                TemplateAction::Kill(template) => {
                    assert!(self.living.contains_key(&template));
                    killed.push(template);
                }
                TemplateAction::KillForked(template) => self.killed_forked.push(template),
                TemplateAction::TakeBack(child) => {
                    assert!(self.sent.remove(&child).is_some(), "{child:?} was not sent");
                }
                TemplateAction::Fail { order, transient, .. } => {
                    self.answer(order.child, Answer::Failed { transient });
                }
                TemplateAction::Withdrawn(child) => self.answer(child, Answer::Withdrawn),
                TemplateAction::Log(remark) => self.remarks.push(remark),
            }
        }
        killed.into_iter().for_each(|template| self.end(template));
    }
}
