//! The steps of an exploration, and what counts in the states between them.

use std::fmt;

use super::super::*;
use super::templates::TemplateEvent;
use crate::explorer::form::Part;
use crate::supervisor::SAME_STOP;
use crate::supervisor::policy::STABLE;

/// What may happen in an exploration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moves {
    pub(super) requests: &'static [Request],
    pub(super) exits: &'static [Exit],
    pub(super) child_events: &'static [ChildEvent],
    /// Whether starts are answered later, like those of a template.
    pub(super) forks: bool,
    /// Whether they are answered by templates, which are a part of the model.
    pub(super) templates: bool,
    /// Whether events come between two actions of a turn.
    pub(super) between_actions: bool,
    /// The sizes among which the options change.
    pub(super) sizes: &'static [usize],
    /// Whether a child that was asked to stop exits only when it is killed, on the way to rest; and the link of a
    /// child that its template has not forked never ends.
    pub(super) stubborn: bool,
}

/// What a child says, or does to its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChildEvent {
    Refuse,
    Close,
    Abuse,
    Hang,
    /// That it is a candidate, and that it resigns.
    Lead,
    Recycle(RecycleReason),
}

/// One thing that happens, and how what the fleet does then turns out.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) what: What,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Event(Event),
    Template(TemplateEvent),
    /// The options ask for so many slots.
    Size(usize),
    /// Time passes until the next deadline.
    Deadline,
    /// The driver is late: several deadlines may have passed, and children are stable.
    Pause,
    /// The next action is performed.
    Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Well,
    /// The first child that is started now cannot be.
    StartFails {
        transient: bool,
    },
    /// The first hook that is called now fails.
    HookFails,
    /// The new program is executed; whether its children have other privileges.
    Exec {
        moved: bool,
    },
    /// The queues are empty.
    Empty,
    /// The program answers when it is asked about a canary.
    Answer(Event),
    /// The templates that are sent an order now take none any more, and are about to end.
    NotSent,
    /// The template that is started now cannot be.
    TemplateNotStarted {
        transient: bool,
    },
}

impl fmt::Debug for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Event(event) => write!(out, "{event:?}")?,
            What::Template(event) => write!(out, "{event:?}")?,
            what => write!(out, "{what:?}")?,
        }
        if self.outcome == Outcome::Well { Ok(()) } else { write!(out, " ({:?})", self.outcome) }
    }
}

pub(super) fn well(what: What) -> Step {
    Step { what, outcome: Outcome::Well }
}

/// What counts in the fields of a supervisor.
pub(super) fn part_of(name: &str) -> Part {
    match name.as_bytes() {
        // Totals are counted and told, and decide nothing; neither do pids, but that there is one.
        b"totals" => Part::Nothing,
        // They follow from the children and the slots, with which the fleet compares them.
        b"sums" => Part::Nothing,
        // The next id is greater than all.
        b"next_id" => Part::Nothing,
        // Observers see these failures. Only those in `none_ready` end a fleet whose policy counts no others.
        b"total" | b"recent" => Part::Nothing,
        // In the order of their starts. Lifetimes are spread by ids: no exploration has `max_lifetime`.
        b"ChildId" => Part::Place(0),
        b"generation" | b"newest" | b"target" | b"settled" | b"before" => Part::Place(1),
        // Maps from generations, and a set of them.
        b"templates" | b"waiting" | b"last_ends" | b"destroyed" => Part::Place(1),
        b"pid" | b"predecessor" => Part::Place(2),
        b"TemplateId" => Part::Place(3),
        // A child that is stable does not become more stable; the waits for queues are shorter.
        b"since" => Part::Age(STABLE),
        // A template that was ready for this long has had no short life.
        b"ready_since" => Part::Age(secs(10)),
        // The longest pause, and twice the time for an answer.
        b"ended_at" => Part::Age(secs(30)),
        b"sent_at" => Part::Age(secs(20)),
        b"stop_requested_at" => Part::Age(SAME_STOP),
        // No patience is longer.
        b"none_ready_since" => Part::Age(secs(61)),
        _ => Part::All,
    }
}

/// The same, where every failure in the fleet's life counts, and none by its time.
pub(super) fn part_where_all_failures_count(name: &str) -> Part {
    if name == "total" { Part::All } else { part_of(name) }
}
