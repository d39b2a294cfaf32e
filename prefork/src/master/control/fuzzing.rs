//! The body of a fuzz target: a request to operate the fleet.

use super::operation::{Operation, OperationResult, Outcome, operation_name};
use crate::fuzzing::assert_one_line;

/// The target of a request: a path and a query.
pub(crate) fn control(data: &[u8]) {
    let target = String::from_utf8_lossy(data);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let read = Operation::from_request(path, query);
    assert_eq!(read.is_some(), !operation_name(path).is_empty(), "{path}");
    match read {
        Some(Ok(operation)) => {
            assert_eq!(operation.name(), operation_name(path));
            assert_one_line(&operation.describe());
        }
        Some(Err(problem)) => {
            assert_one_line(&problem);
            assert!(problem.len() < 600, "{problem}");
            let refusal = Outcome::refusal(operation_name(path), OperationResult::Invalid, problem);
            let json = refusal.to_json();
            assert_one_line(&json.strip_suffix('\n').unwrap_or("no line break at the end\n"));
        }
        None => {}
    }
}
