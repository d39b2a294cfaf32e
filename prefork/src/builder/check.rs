//! The check of a configuration: `PREFORK_CHECK=1`.
//!
//! It does what a start does up to the first socket, and more: every problem is found and printed, not the
//! first. It binds, writes and starts nothing, so that it can run beside the fleet that is to be reloaded.
//! What it prints on standard output is TOML: the effective options, and where each comes from.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use super::Prefork;
use super::problems::Problems;
use super::values::bad;
use crate::child;
use crate::error::{Error, chain, plain};
use crate::listen;
use crate::logging::{self, Logger};
use crate::master::Plan;
use crate::privileges::Privileges;
use crate::sys::{self, CHECK_VARIABLE, PidFile, Role};
use crate::tls;

/// The status of a check that found a problem. A server that cannot start ends with 1.
const INVALID: u8 = 2;

/// Whether this process is to check its configuration. In a child the variable means nothing.
pub(crate) fn is_requested() -> bool {
    let is_set = env::var_os(CHECK_VARIABLE)
        .is_some_and(|value| !value.is_empty() && value != "0" && value != "false");
    is_set && child::role() == Role::Master
}

/// The status of a master that cannot start, or whose configuration is invalid.
pub(crate) fn status_of_failure() -> ExitCode {
    if is_requested() { ExitCode::from(INVALID) } else { ExitCode::FAILURE }
}

impl Prefork {
    /// Prints the effective options, or every problem. Returns the status to exit with.
    pub(super) fn check(mut self) -> ExitCode {
        self.logger = Logger::for_check();
        let mut problems = std::mem::take(&mut self.problems);
        problems.add_error_of(check_request());
        self.report_idle_settings();
        self.report_idle_variables();
        let activated = sys::activated().map_err(Error::activation);
        let activated = problems.note(activated).unwrap_or_default();
        let plan = self.draft(activated, &Privileges::default(), &mut problems);
        self.check_surroundings(&plan, &mut problems);
        // Warnings come first.
        logging::flush();
        match problems.into_result() {
            Ok(()) => print(&self.effective_options(&plan)),
            Err(problems) => {
                for problem in problems.into_errors() {
                    logging::report_problem(&chain(&problem));
                }
                ExitCode::from(INVALID)
            }
        }
    }

    /// Checks what the options name outside of the program, as far as that changes nothing.
    fn check_surroundings(&self, plan: &Plan, problems: &mut Problems) {
        listen::check(&plan.endpoints, plan.sockets, plan.health.as_deref())
            .into_iter()
            .for_each(|problem| problems.add(problem));
        for endpoint in &plan.endpoints {
            let Some(name) = endpoint.activated_name() else { continue };
            if !plan.activated.iter().any(|passed| passed.name == name) {
                self.logger.event("idle_socket").warn(format_args!(
                    "the socket `{name}` of the service manager is not part of this check"
                ));
            }
        }
        let (errors, warning) = tls::check(&plan.tls);
        errors.into_iter().for_each(|problem| problems.add(problem));
        if let Some(warning) = warning {
            self.logger.event("certificate").warn(warning);
        }
        if let Some(path) = &plan.control {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let found = directory.map_or(Ok(()), |directory| directory.metadata().map(drop));
            problems.add_error_of(found.map_err(|source| Error::Control { path: path.clone(), source }));
        }
        if let Some(path) = &plan.pid_file {
            let checked = PidFile::check(path);
            problems.add_error_of(checked.map_err(|source| Error::PidFile { path: path.clone(), source }));
        }
    }
}

/// Prints the effective options. Without a reader, the status is the answer; but a file that lacks a part must not
/// be taken for a complete one.
fn print(options: &str) -> ExitCode {
    match io::stdout().write_all(options.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let problem = format!("cannot print the effective options: {}", plain(&error));
            logging::report_problem(&problem);
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// A value that stands neither for yes nor for no starts no fleet.
fn check_request() -> Result<(), Error> {
    let value = env::var_os(CHECK_VARIABLE).unwrap_or_default();
    if value == "1" || value == "true" {
        return Ok(());
    }
    Err(bad(
        CHECK_VARIABLE,
        value.to_string_lossy(),
        "`1` or `true` to check the configuration, or `0` or `false`",
    ))
}
