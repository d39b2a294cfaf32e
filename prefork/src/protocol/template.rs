//! The messages between the master and a template, beside `ToMaster::Received` and `ToMaster::Ready`; and the first
//! message of a child that a template has forked.
//!
//! An order comes with the child's end of its own link, in which everything waits that a child is handed over.

use super::codec::Record;
use crate::supervisor::ChildId;

/// What the master tells a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToTemplate {
    /// Fork this child.
    Fork(ChildId),
}

impl ToTemplate {
    pub(crate) fn to_line(self) -> String {
        let Self::Fork(ChildId(child)) = self;
        Record::new("fork").with("child", &child).to_line()
    }

    /// `None` for a message that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let record = Record::parse(line);
        (record.kind() == "fork").then(|| Some(Self::Fork(ChildId(record.get("child").ok()?))))?
    }
}

/// What a template answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromTemplate {
    Forked {
        child: ChildId,
        pid: u32,
    },
    /// The system has refused it, with the number of an error.
    NotForked {
        child: ChildId,
        error: i32,
    },
}

impl FromTemplate {
    pub(crate) fn to_line(self) -> String {
        match self {
            Self::Forked { child: ChildId(child), pid } => {
                Record::new("forked").with("child", &child).with("pid", &pid).to_line()
            }
            Self::NotForked { child: ChildId(child), error } => {
                Record::new("not-forked").with("child", &child).with("error", &error).to_line()
            }
        }
    }

    /// `None` for a message that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let record = Record::parse(line);
        let child = || record.get("child").ok().map(ChildId);
        match record.kind() {
            "forked" => Some(Self::Forked { child: child()?, pid: record.get("pid").ok()? }),
            "not-forked" => Some(Self::NotForked { child: child()?, error: record.get("error").ok()? }),
            _ => None,
        }
    }
}

/// The first message of a forked child: its pid, which the template may not live to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnPid(pub(crate) u32);

impl OwnPid {
    pub(crate) fn to_line(self) -> String {
        Record::new("own-pid").with("pid", &self.0).to_line()
    }

    /// `None` for any other message.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let record = Record::parse(line);
        (record.kind() == "own-pid").then(|| record.get("pid").ok().map(Self))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_damaged_ones_are_skipped() {
        let (child, pid) = (ChildId(17), 4711);
        let fork = ToTemplate::Fork(child);
        assert_eq!(ToTemplate::from_line(&fork.to_line()), Some(fork));
        for answer in [FromTemplate::Forked { child, pid }, FromTemplate::NotForked { child, error: 11 }] {
            assert_eq!(FromTemplate::from_line(&answer.to_line()), Some(answer));
        }
        assert_eq!(OwnPid::from_line(&OwnPid(pid).to_line()), Some(OwnPid(pid)));
        for line in ["", "fork", "fork child=x", "forked child=1", "not-forked", "own-pid pid=-1", "ready"] {
            let read = (ToTemplate::from_line(line), FromTemplate::from_line(line), OwnPid::from_line(line));
            assert_eq!(read, (None, None, None), "{line}");
        }
    }
}
