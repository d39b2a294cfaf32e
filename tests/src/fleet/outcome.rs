//! The end of a server.

use std::process::ExitStatus;

/// The end of a server.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The exit status of the master.
    pub status: ExitStatus,
    /// The lines of standard error.
    pub stderr: Vec<String>,
    /// The number of children that reached `main`.
    pub children: usize,
}

impl Outcome {
    /// The error message without `error: `. Panics unless there is exactly one and the status is 1.
    pub fn error(&self) -> &str {
        let errors: Vec<&str> = self.stderr.iter().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert_eq!(errors.len(), 1, "not exactly one error: {self:#?}");
        assert_eq!(self.status.code(), Some(1), "{self:#?}");
        errors[0]
    }

    /// Panics unless the server refused to start: one line that contains `reason`, and no child.
    pub fn assert_refused(&self, reason: &str) {
        let error = self.error();
        assert!(error.contains(reason), "expected {reason:?}, not {error:?}");
        assert_eq!(self.stderr.len(), 1, "more than one line: {self:#?}");
        assert_eq!(self.children, 0, "children were started: {self:#?}");
    }
}
