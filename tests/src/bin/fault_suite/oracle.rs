//! Decides whether an injected fault explains a failed request. It knows no process and no clock.
//!
//! The rules are those that the guide gives an operator:
//!
//! - What a child had accepted is lost if the child is killed; nothing else explains the loss of an accepted
//!   connection.
//! - A connection that no child has accepted is refused while no fleet listens. It is reset if a fleet is
//!   killed, and not if one stops.
//! - A child that is killed between `accept` and its record of the connection can have one such connection.
//! - Reloads, upgrades, scaling, signals to children, stopped processes, stalled logs, full tables and hostile
//!   clients explain nothing.

use std::collections::HashSet;

use crate::journal::{DEATH, Fact, Millis};

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Refused,
    /// Reset or closed before the first byte of the answer.
    Closed,
    /// Reset or closed in the middle of the answer.
    Partial,
    Timeout,
    WrongAnswer,
    Other,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Closed => "closed before the answer",
            Self::Partial => "closed in the answer",
            Self::Timeout => "timed out",
            Self::WrongAnswer => "wrong answer",
            Self::Other => "other error",
        }
    }
}

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) reason: Reason,
    /// When the client began to connect, or to send on a kept connection.
    pub(crate) began: Millis,
    pub(crate) failed: Millis,
    /// The child that has accepted the connection, if one has.
    pub(crate) server: Option<u32>,
}

/// The system may need this time to tell a client of the end of a process.
const NOTICE: Millis = 1500;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Children whose one connection without a record was used as an explanation.
    used: HashSet<(u32, Millis)>,
}

impl Oracle {
    /// The fault that explains the failure.
    pub(crate) fn explain(&mut self, facts: &[Fact], failure: &Failure) -> Option<&'static str> {
        match (failure.reason, failure.server) {
            (Reason::Closed | Reason::Partial, Some(server)) => death_of(server, facts, failure),
            (Reason::Refused, None) => downtime(facts, failure, false),
            (Reason::Closed, None) => {
                downtime(facts, failure, true).or_else(|| self.unrecorded(facts, failure))
            }
            _ => None,
        }
    }

    fn unrecorded(&mut self, facts: &[Fact], failure: &Failure) -> Option<&'static str> {
        facts.iter().find_map(|fact| match fact {
            Fact::Doomed { pid, from, died, how } => {
                let until = died.map_or(Millis::MAX, |died| died + NOTICE);
                let fits = (*from..=until).contains(&failure.failed);
                (fits && self.used.insert((*pid, *from))).then_some(*how)
            }
            _ => None,
        })
    }
}

fn death_of(server: u32, facts: &[Fact], failure: &Failure) -> Option<&'static str> {
    facts.iter().find_map(|fact| match fact {
        Fact::Doomed { pid, from, how, .. }
            if *pid == server && (*from..from + DEATH).contains(&failure.failed) =>
        {
            Some(*how)
        }
        _ => None,
    })
}

/// The downtime that the request fell into.
fn downtime(facts: &[Fact], failure: &Failure, needs_kill: bool) -> Option<&'static str> {
    facts.iter().find_map(|fact| match fact {
        Fact::Down { from, until, killed, how }
            if *from <= failure.failed
                && until.is_none_or(|until| failure.began <= until)
                && (*killed || !needs_kill) =>
        {
            Some(*how)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: u32 = 11;
    const OTHER: u32 = 12;

    fn failure(reason: Reason, (began, failed): (Millis, Millis), server: Option<u32>) -> Failure {
        Failure { what: "request".to_owned(), reason, began, failed, server }
    }

    fn explain(facts: &[Fact], failure: &Failure) -> Option<&'static str> {
        Oracle::default().explain(facts, failure)
    }

    fn doomed(pid: u32, from: Millis) -> Fact {
        Fact::Doomed { pid, from, died: Some(from + 1), how: "killed" }
    }

    fn down(from: Millis, until: Option<Millis>, killed: bool) -> Fact {
        Fact::Down { from, until, killed, how: "down" }
    }

    #[test]
    fn death_of_its_child_explains_a_closed_connection() {
        for reason in [Reason::Closed, Reason::Partial] {
            let closed = failure(reason, (90, 110), Some(CHILD));
            assert_eq!(explain(&[doomed(CHILD, 100)], &closed), Some("killed"));
        }
    }

    #[test]
    fn death_of_another_child_explains_nothing_of_an_accepted_connection() {
        let closed = failure(Reason::Closed, (90, 110), Some(CHILD));
        assert_eq!(explain(&[doomed(OTHER, 100)], &closed), None);
        assert_eq!(explain(&[], &closed), None);
    }

    #[test]
    fn later_death_explains_nothing_and_neither_does_one_long_ago() {
        let later = 100 + DEATH;
        assert_eq!(
            explain(&[doomed(CHILD, 100)], &failure(Reason::Closed, (later, later), Some(CHILD))),
            None
        );
        assert_eq!(explain(&[doomed(CHILD, 111)], &failure(Reason::Closed, (90, 110), Some(CHILD))), None);
        assert_eq!(explain(&[doomed(CHILD, 111)], &failure(Reason::Closed, (90, 110), None)), None);
    }

    #[test]
    fn death_of_a_child_explains_one_connection_without_a_record() {
        let facts = [doomed(CHILD, 100), doomed(OTHER, 105)];
        let lost = failure(Reason::Closed, (90, 110), None);
        let mut oracle = Oracle::default();
        let explained: Vec<_> = (0..3).map(|_| oracle.explain(&facts, &lost).is_some()).collect();
        assert_eq!(explained, [true, true, false]);
        let late = failure(Reason::Closed, (90, 107 + NOTICE), None);
        assert_eq!(explain(&facts, &late), None);
    }

    #[test]
    fn downtime_explains_refusal_and_nothing_that_was_accepted() {
        let facts = [down(100, Some(200), false)];
        assert_eq!(explain(&facts, &failure(Reason::Refused, (150, 151), None)), Some("down"));
        assert_eq!(explain(&facts, &failure(Reason::Refused, (200, 201), None)), Some("down"));
        for outside in [(80, 99), (201, 202)] {
            assert_eq!(explain(&facts, &failure(Reason::Refused, outside, None)), None);
        }
        let accepted = failure(Reason::Closed, (90, 150), Some(CHILD));
        assert_eq!(explain(&[down(100, Some(200), true)], &accepted), None);
    }

    #[test]
    fn queued_connection_is_explained_by_a_kill_and_not_by_a_stop() {
        let queued = failure(Reason::Closed, (99, 150), None);
        assert_eq!(explain(&[down(100, None, true)], &queued), Some("down"));
        assert_eq!(explain(&[down(100, None, false)], &queued), None);
    }

    #[test]
    fn nothing_explains_a_timeout_or_a_wrong_answer() {
        let facts = [doomed(CHILD, 0), down(0, None, true)];
        for reason in [Reason::Timeout, Reason::WrongAnswer, Reason::Other] {
            for server in [None, Some(CHILD)] {
                assert_eq!(explain(&facts, &failure(reason, (90, 110), server)), None);
            }
        }
    }
}
