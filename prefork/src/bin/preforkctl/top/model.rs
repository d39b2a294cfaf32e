//! What is shown, and what keys do.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::status::Status;

/// How many numbers of the past a row of bars has.
pub(super) const BARS: usize = 30;

/// The keys of the next page and the page before, as in less(1).
pub(super) const NEXT_PAGE: char = ' ';
pub(super) const PAGE_BEFORE: char = 'b';

/// How long it is told what became of an operation, unless a key is pressed before.
const MESSAGE_TIME: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What the fleet said last.
    pub(super) status: Option<Status>,
    /// Set while it does not answer: what is known of it is old.
    pub(super) lost: Option<Lost>,
    pub(super) message: Option<Message>,
    pub(super) question: Option<Question>,
    /// The row that is chosen.
    pub(super) selected: usize,
    /// The first row on the screen.
    pub(super) first: usize,
    /// How many rows the screen had room for.
    pub(super) page: usize,
    /// By pid.
    pub(super) rates: BTreeMap<u32, Rates>,
    at: Option<Instant>,
}

/// What a child does in a second.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Rates {
    /// CPU time for each second, in per cent: the newest last.
    pub(super) cpu: VecDeque<f64>,
    /// Requests for each second.
    pub(super) requests: Option<f64>,
    last_cpu: Option<f64>,
    last_requests: Option<u64>,
}

/// Why the fleet does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) reason: String,
    /// Since its last answer.
    pub(super) time: Duration,
}

/// What became of the last operation, or what is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    /// `None` for what is under way, which is told until its end.
    until: Option<Instant>,
}

/// What the user has to confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) text: String,
    path: String,
}

/// What a key has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    /// The operation with this path.
    Operate(String),
}

impl Model {
    pub(super) fn update(&mut self, status: Status, at: Instant) {
        let seconds = self.at.replace(at).map(|before| at.saturating_duration_since(before).as_secs_f64());
        let mut last = std::mem::take(&mut self.rates);
        for child in &status.children {
            let Some(pid) = child.pid else { continue };
            let mut rates = last.remove(&pid).unwrap_or_default();
            rates.note(child.cpu_seconds, child.requests, seconds);
            self.rates.insert(pid, rates);
        }
        self.status = Some(status);
        self.choose(self.selected);
        self.lost = None;
    }

    /// The fleet does not answer.
    pub(super) fn lose(&mut self, reason: String, now: Instant) {
        self.lost = Some(Lost { reason, time: Duration::ZERO });
        self.tick(now);
        // Nothing is done now, and the next fleet at this path is not the one that the question was about.
        self.rates.clear();
        self.question = None;
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.status.as_ref().map_or(0, |status| status.rows().len())
    }

    fn choose(&mut self, row: usize) {
        self.selected = row.min(self.count().saturating_sub(1));
    }

    /// Scrolls so that the chosen row is on a screen with room for `page` rows.
    pub(super) fn scroll(&mut self, page: usize) {
        self.page = page.max(1);
        let earliest = (self.selected + 1).saturating_sub(self.page);
        let latest = self.selected.min(self.count().saturating_sub(self.page));
        self.first = self.first.clamp(earliest, latest.max(earliest));
    }

    /// Tells what became of something, for a time.
    pub(super) fn tell(&mut self, text: impl Into<String>, now: Instant) {
        self.message = Some(Message { text: text.into(), until: Some(now + MESSAGE_TIME) });
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        self.message.take_if(|message| message.until.is_some_and(|until| until <= now));
        if let (Some(lost), Some(at)) = (&mut self.lost, self.at) {
            lost.time = now.saturating_duration_since(at);
        }
    }

    /// The generation of a reload that holds.
    pub(super) fn held(&self) -> Option<u64> {
        let status = self.status.as_ref().filter(|_| self.lost.is_none())?;
        status.operation.as_ref().filter(|operation| operation.holding).map(|_| status.generation)
    }

    pub(super) fn press(&mut self, key: char, now: Instant) -> Option<Wish> {
        self.message.take_if(|message| message.until.is_some());
        if let Some(Question { text, path }) = self.question.take() {
            if key != 'y' {
                self.tell("cancelled", now);
                return None;
            }
            self.message = Some(Message { text: format!("{text}: under way"), until: None });
            return Some(Wish::Operate(path));
        }
        match key {
            'q' => return Some(Wish::Quit),
            'j' => self.choose(self.selected + 1),
            'k' => self.choose(self.selected.saturating_sub(1)),
            NEXT_PAGE => {
                self.first += self.page;
                self.choose(self.selected + self.page);
            }
            PAGE_BEFORE => {
                self.first = self.first.saturating_sub(self.page);
                self.choose(self.selected.saturating_sub(self.page));
            }
            'g' => self.choose(0),
            'G' => self.choose(usize::MAX),
            // There is no fleet to change.
            _ if self.lost.is_some() => {}
            _ => self.ask_of(key, now)?,
        }
        None
    }

    /// Asks whether the fleet is to be changed as the key says.
    fn ask_of(&mut self, key: char, now: Instant) -> Option<()> {
        let held = self.held();
        let status = self.status.as_ref()?;
        match key {
            'r' => {
                let slot = status.rows().get(self.selected)?.slot;
                self.ask(format!("recycle slot {slot}"), format!("/recycle?slot={slot}"));
            }
            '+' => self.ask_to_scale(status.slots + 1),
            '-' if status.slots <= 1 => {
                self.tell("the last child stays; preforkctl stop ends the fleet", now)
            }
            '-' => self.ask_to_scale(status.slots - 1),
            'P' => self.ask_of_canary(held, "replace the other children by", "/promote", now),
            'R' => self.ask_of_canary(held, "roll back", "/rollback", now),
            _ => {}
        }
        Some(())
    }

    fn ask_to_scale(&mut self, count: u64) {
        self.ask(format!("change the number of children to {count}"), format!("/workers?count={count}"));
    }

    fn ask_of_canary(&mut self, held: Option<u64>, what: &str, path: &str, now: Instant) {
        match held {
            Some(generation) => self.ask(format!("{what} generation {generation}"), path.to_owned()),
            None => self.tell("no reload holds", now),
        }
    }

    fn ask(&mut self, text: String, path: String) {
        self.question = Some(Question { text, path });
    }

    /// Requests of all children in a second, if the program counts them.
    pub(super) fn requests(&self) -> Option<f64> {
        let known: Vec<f64> = self.rates.values().filter_map(|rates| rates.requests).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }
}

impl Rates {
    fn note(&mut self, cpu: Option<f64>, requests: Option<u64>, seconds: Option<f64>) {
        let seconds = seconds.filter(|seconds| *seconds > 0.0);
        if let (Some(cpu), Some(last), Some(seconds)) = (cpu, self.last_cpu, seconds) {
            self.cpu.push_back(((cpu - last) / seconds * 100.0).max(0.0));
            if self.cpu.len() > BARS {
                self.cpu.pop_front();
            }
        }
        if let (Some(requests), Some(last), Some(seconds)) = (requests, self.last_requests, seconds) {
            #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
            let more = requests.saturating_sub(last) as f64;
            self.requests = Some(more / seconds);
        }
        (self.last_cpu, self.last_requests) = (cpu, requests);
    }
}

#[cfg(test)]
pub(super) mod tests;
