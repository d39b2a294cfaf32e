//! What a client of the control socket can ask for, and how it ended.

use std::time::Duration;

use prefork_options as options;

use super::parameters::Parameters;
use crate::json;
use crate::master::messages::{children, readable};
use crate::supervisor::CanaryChoice;

/// What a client can have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Reload(CanaryChoice),
    Upgrade,
    /// Another number of slots.
    Workers(Size),
    /// Another child for this slot.
    Recycle(usize),
    Stop {
        /// Without grace.
        now: bool,
    },
    /// Completes a reload that holds.
    Promote,
    /// Takes a reload back that holds.
    Rollback,
    /// Opens log files again.
    Reopen,
}

/// A number of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    To(usize),
    /// So many more or fewer than there are when it begins.
    By(isize),
}

impl Size {
    /// The number, for a fleet that has so many slots.
    pub(super) fn of(self, slots: usize) -> usize {
        match self {
            Self::To(count) => count,
            Self::By(by) => slots.saturating_add_signed(by),
        }
    }
}

impl Operation {
    /// The operation that a path and a query name; `None` if the path names none.
    pub(super) fn from_request(path: &str, query: &str) -> Option<Result<Self, String>> {
        let Request { read, .. } = Request::of(path)?;
        let mut parameters = Parameters::of(query);
        Some(read(&mut parameters).and_then(|operation| parameters.end().map(|()| operation)))
    }

    /// Its name in a path, and in answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reload(_) => "reload",
            Self::Upgrade => "upgrade",
            Self::Workers(_) => "workers",
            Self::Recycle(_) => "recycle",
            Self::Stop { .. } => "stop",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Reopen => "reopen",
        }
    }

    /// What is asked for, in the words of the log.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Reload(CanaryChoice { children, hold }) => {
                let canary = children.map(|children| format!(" with a canary of {children}"));
                let hold = hold.map(|hold| format!(", to hold for {}", readable(hold)));
                format!("a reload{}{}", canary.unwrap_or_default(), hold.unwrap_or_default())
            }
            Self::Upgrade => "an upgrade".to_owned(),
            Self::Workers(Size::To(count)) => format!("a size of {count}"),
            Self::Workers(Size::By(by)) if by < 0 => format!("{} fewer", children(by.unsigned_abs())),
            Self::Workers(Size::By(by)) => format!("{} more", children(by.unsigned_abs())),
            Self::Recycle(slot) => format!("another child for slot {slot}"),
            Self::Stop { now: false } => "a stop".to_owned(),
            Self::Stop { now: true } => "a stop at once".to_owned(),
            Self::Promote => "the promotion of the canary".to_owned(),
            Self::Rollback => "the rollback of the canary".to_owned(),
            Self::Reopen => "a reopening of the logs".to_owned(),
        }
    }
}

/// What a client can request.
struct Request {
    /// An operation with this name.
    example: Operation,
    /// The parameters that it must have.
    query: &'static str,
    read: fn(&mut Parameters<'_>) -> Result<Operation, String>,
}

const REQUESTS: [Request; 8] = [
    Request {
        example: Operation::Reload(CanaryChoice { children: None, hold: None }),
        query: "",
        read: |parameters| parameters.canary().map(Operation::Reload),
    },
    Request::without_parameters(Operation::Upgrade, |_| Ok(Operation::Upgrade)),
    Request {
        example: Operation::Workers(Size::To(1)),
        query: "?count=N",
        read: |parameters| parameters.size().map(Operation::Workers),
    },
    Request {
        example: Operation::Recycle(0),
        query: "?slot=N",
        read: |parameters| {
            parameters.count("slot", 0, u64::from(options::WORKERS_MAX) - 1).map(Operation::Recycle)
        },
    },
    Request {
        example: Operation::Stop { now: false },
        query: "",
        read: |parameters| parameters.switch("now").map(|now| Operation::Stop { now }),
    },
    Request::without_parameters(Operation::Promote, |_| Ok(Operation::Promote)),
    Request::without_parameters(Operation::Rollback, |_| Ok(Operation::Rollback)),
    Request::without_parameters(Operation::Reopen, |_| Ok(Operation::Reopen)),
];

impl Request {
    const fn without_parameters(
        example: Operation,
        read: fn(&mut Parameters<'_>) -> Result<Operation, String>,
    ) -> Self {
        Self { example, query: "", read }
    }

    fn of(path: &str) -> Option<&'static Self> {
        let name = path.strip_prefix('/')?;
        REQUESTS.iter().find(|request| request.example.name() == name)
    }
}

/// The name of the operation of this path.
pub(super) fn operation_name(path: &str) -> &'static str {
    Request::of(path).map_or("", |request| request.example.name())
}

/// The paths of all operations, with the parameters that they must have: `/reload, /workers?count=N or /stop`.
pub(super) fn operation_paths() -> String {
    let paths = REQUESTS.map(|Request { example, query, .. }| format!("/{}{query}", example.name()));
    let [first @ .., last] = paths.as_slice() else { return String::new() };
    format!("{} or {last}", first.join(", "))
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationResult {
    Done,
    /// It began, and failed.
    Aborted,
    /// It never began.
    Refused,
    /// Another request took its place.
    Superseded,
    /// The fleet began to stop.
    Cancelled,
    /// Another one is under way.
    Busy,
    /// The request is wrong.
    Invalid,
}

impl OperationResult {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Aborted => "aborted",
            Self::Refused | Self::Invalid => "refused",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Busy => "busy",
        }
    }

    /// The status of the answer.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Done => 200,
            Self::Invalid => 400,
            Self::Busy | Self::Superseded | Self::Cancelled => 409,
            Self::Refused => 422,
            Self::Aborted => 500,
        }
    }
}

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) operation: &'static str,
    pub(crate) result: OperationResult,
    pub(crate) message: String,
    pub(crate) generation: u32,
    /// Children that were replaced, started or ended.
    pub(crate) replaced: usize,
    pub(crate) of: usize,
    pub(crate) elapsed: Duration,
    /// Log messages that concern it.
    pub(crate) log: Vec<String>,
}

impl Outcome {
    /// Of an operation that did not begin.
    pub(super) fn refusal(operation: &'static str, result: OperationResult, message: String) -> Self {
        let (generation, replaced, of, elapsed, log) = (0, 0, 0, Duration::ZERO, Vec::new());
        Self { operation, result, message, generation, replaced, of, elapsed, log }
    }

    /// One line.
    pub(super) fn to_json(&self) -> String {
        let Self { operation, result, message, generation, replaced, of, elapsed, log } = self;
        let log: Vec<String> = log.iter().map(|line| json::text(line)).collect();
        format!(
            "{{\"operation\":\"{operation}\",\"result\":\"{}\",\"message\":{},\"generation\":{generation},\
             \"replaced\":{replaced},\"of\":{of},\"seconds\":{},\"log\":[{}]}}\n",
            result.name(),
            json::text(message),
            json::seconds(*elapsed),
            log.join(",")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str) -> Option<Result<Operation, String>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Operation::from_request(path, query)
    }

    #[test]
    fn path_and_query_name_an_operation() {
        let canary = CanaryChoice { children: Some(2), hold: Some(Duration::from_secs(60)) };
        for (target, operation) in [
            ("/reload", Operation::Reload(CanaryChoice::default())),
            ("/reload?hold=60s&canary=2", Operation::Reload(canary)),
            ("/reload?hold=0m%2060s&canary=2", Operation::Reload(canary)),
            ("/upgrade?", Operation::Upgrade),
            ("/workers?count=8192", Operation::Workers(Size::To(8192))),
            ("/workers?by=2", Operation::Workers(Size::By(2))),
            ("/workers?by=-8191", Operation::Workers(Size::By(-8191))),
            ("/recycle?slot=0", Operation::Recycle(0)),
            ("/stop", Operation::Stop { now: false }),
            ("/stop?now=0", Operation::Stop { now: false }),
            ("/stop?now", Operation::Stop { now: true }),
            ("/stop?now=1", Operation::Stop { now: true }),
        ] {
            assert_eq!(parse(target), Some(Ok(operation)), "{target}");
            let path = target.split('?').next().unwrap();
            assert_eq!(operation_name(path), operation.name());
        }
        assert_eq!((parse("/status"), operation_name("/status"), parse("reload")), (None, "", None));
    }

    #[test]
    fn every_operation_can_be_requested() {
        for Request { example, query, .. } in REQUESTS {
            let path = format!("/{}", example.name());
            let operation = parse(&(path.clone() + &query.replace('N', "1"))).unwrap().unwrap();
            assert_eq!((operation.name(), operation_name(&path)), (example.name(), example.name()));
            assert_eq!(parse(&path).unwrap().is_ok(), query.is_empty(), "{path}");
        }
        assert_eq!(
            operation_paths(),
            "/reload, /upgrade, /workers?count=N, /recycle?slot=N, /stop, /promote, /rollback or /reopen"
        );
    }

    #[test]
    fn wrong_parameter_is_named_with_what_is_expected() {
        for (target, problem) in [
            ("/workers", "`count` is missing"),
            ("/workers?count=0", "count cannot be `0`: expected "),
            ("/workers?count=8193", "count cannot be `8193`: expected "),
            ("/workers?count=4&count=5", "`count` is given twice"),
            ("/workers?count=4&by=1", "unknown parameter `count`"),
            ("/workers?by=8192", "by cannot be `8192`: expected a number from -8191 to 8191"),
            ("/workers?by=some", "by cannot be `some`"),
            ("/recycle?slot=-1", "slot cannot be `-1`"),
            ("/recycle?slot=18446744073709551616", "slot cannot be"),
            ("/stop?now=maybe", "now cannot be `maybe`"),
            ("/upgrade?canary=1", "unknown parameter `canary`"),
            ("/reload?canary=1&canary=2", "`canary` is given twice"),
            ("/reload?hold=soon", "hold cannot be `soon`: expected "),
            ("/reload?hold=%zz%e2%", "hold cannot be `%zz"),
            ("/reload?hold=1s&canary=0", "hold has no meaning without a canary"),
            ("/reload?canary=some", "canary cannot be `some`"),
        ] {
            let refused = parse(target).unwrap().unwrap_err();
            assert!(refused.contains(problem), "{target}: {refused}");
        }
    }

    #[test]
    fn outcome_is_one_line_of_json() {
        let outcome = Outcome {
            elapsed: Duration::from_millis(1234),
            log: vec!["a \"b\"".to_owned(), "c".to_owned()],
            ..Outcome::refusal("reload", OperationResult::Aborted, "no".to_owned())
        };
        assert_eq!(
            outcome.to_json(),
            "{\"operation\":\"reload\",\"result\":\"aborted\",\"message\":\"no\",\"generation\":0,\
             \"replaced\":0,\"of\":0,\"seconds\":1.234,\"log\":[\"a \\\"b\\\"\",\"c\"]}\n"
        );
    }
}
