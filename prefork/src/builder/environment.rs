//! Options from the environment: a variable overrides the attribute and the configuration file, and the builder
//! overrides the variable.
//!
//! The variables, and what they may hold, follow from the table of options.

use std::env;

use prefork_options::{self as options, OPTIONS, OptionRow, PREFIX, meant_by};

use super::Prefork;
use super::values::{Source, bad, differ};
use crate::listen::{Endpoint, Network};
use crate::sys;

/// Every option that a variable sets in this build.
pub(super) fn variables() -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().copied().filter(|row| row.environment && has_feature(row))
}

pub(super) fn has_feature(row: &OptionRow) -> bool {
    match row.feature {
        None => true,
        Some("tokio") => cfg!(feature = "tokio"),
        Some("rustls") => cfg!(feature = "rustls"),
        Some("config") => cfg!(feature = "config"),
        Some(_) => false,
    }
}

impl Prefork {
    /// Reads the variables of the options that the builder does not set, unless the program turned that off.
    pub(super) fn with_environment(self) -> Self {
        self.with_variables(|name| env::var(name))
    }

    /// The same with variables that `read` reads.
    pub(super) fn with_variables(mut self, read: impl Fn(&str) -> Result<String, env::VarError>) -> Self {
        if !self.reads_environment() {
            return self;
        }
        for row in variables() {
            if self.values.source(row) == Some(Source::Builder) {
                continue;
            }
            let name = row.variable();
            match read(&name) {
                // Unset and empty are the same.
                Ok(text) if text.is_empty() => {}
                Err(env::VarError::NotPresent) => {}
                Ok(text) => match row.kind.parse(text.trim()) {
                    Ok(value) => self.values.insert(row, Source::Environment, value),
                    Err(problem) => self = self.refuse_value(&name, row, text.trim(), &problem),
                },
                Err(env::VarError::NotUnicode(text)) => {
                    let error = bad(name, text.to_string_lossy(), "text in UTF-8");
                    self.problems.add_value(row, error);
                }
            }
        }
        self
    }

    fn reads_environment(&self) -> bool {
        self.get_or_default(&options::ENVIRONMENT)
    }

    /// Logs which variables override the attribute or the file, and which have no effect.
    pub(super) fn report_variables(&self) {
        for row in variables() {
            if let Some((ours, theirs)) = self.values.overridden(row, Source::Environment).filter(differ) {
                let (variable, theirs) = (row.variable(), theirs.spell());
                self.logger.event("overridden").info(format_args!(
                    "{variable}={} overrides {} = {theirs}",
                    ours.spell(),
                    row.setting()
                ));
            }
        }
        self.report_idle_variables();
    }

    /// Logs which variables have no effect.
    pub(super) fn report_idle_variables(&self) {
        for (name, value) in env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            if let Some(reason) = self.idle_variable(name).filter(|_| !value.is_empty()) {
                self.logger.event("idle_variable").warn(reason);
            }
        }
    }

    /// Why a variable has no effect, if it has none.
    pub(super) fn idle_variable(&self, name: &str) -> Option<String> {
        match variables().find(|row| row.variable() == name) {
            _ if sys::OWN_VARIABLES.contains(&name) => None,
            None => Some(unknown(name)),
            Some(_) if !self.reads_environment() => {
                Some(format!("{name} has no effect: the program sets `environment = false`"))
            }
            Some(row) => Some(format!("{name} has no effect: {}", self.idle_reason(row)?)),
        }
    }

    /// Why the operator's value of an option has no effect, if it has none.
    pub(super) fn idle_reason(&self, row: &'static OptionRow) -> Option<String> {
        if self.values.source(row) == Some(Source::Builder) {
            return Some(format!("the program itself sets `{}`", row.setting()));
        }
        if !self.is_by_operator(row) {
            // Its value was refused.
            return None;
        }
        if let Some(source) = self.values.source(&options::WORKERS).filter(|_| *row == options::MAX_WORKERS) {
            let source = self.describe(&options::WORKERS, source);
            return Some(format!(
                "`workers` is set ({source}); `max_workers` limits only the automatic number"
            ));
        }
        if (*row == options::UNIX_MODE || *row == options::UNIX_OWNER) && !self.names_unix_socket() {
            return Some("no address is a Unix socket".to_owned());
        }
        if *row == options::RUNTIME && self.serve.is_blocking() {
            return Some("the serve function is not `async`".to_owned());
        }
        None
    }

    fn names_unix_socket(&self) -> bool {
        let network = self.get::<Network>(&options::NETWORK);
        let addrs = self.get::<Vec<String>>(&options::ADDR).unwrap_or_default();
        addrs.iter().any(|addr| Endpoint::new(addr, network).network == Network::Unix)
    }
}

fn unknown(name: &str) -> String {
    // Names are compared without the prefix, which all have.
    match meant_by(name.strip_prefix(PREFIX).unwrap_or(name)) {
        Some(row) if row.variable() == name => match row.feature.filter(|_| row.environment) {
            Some(feature) => {
                format!(
                    "{name} has no effect: the program is built without the feature `{feature}` of prefork"
                )
            }
            None => format!("{name} has no effect: only the program itself can set `{}`", row.name),
        },
        Some(row) if variables().any(|known| known == row) => {
            format!("unknown variable {name}: did you mean {}?", row.variable())
        }
        _ => format!("unknown variable {name} has no effect"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variable_is_answered_with_what_was_meant() {
        assert!(unknown("PREFORK_WORKER").ends_with("did you mean PREFORK_WORKERS?"));
        assert!(unknown("PREFORK_SHUTDOWN_GRACE_PERIOD").ends_with("did you mean PREFORK_SHUTDOWN_GRACE?"));
        assert!(unknown("PREFORK_PORT").ends_with("did you mean PREFORK_ADDR?"));
        assert!(unknown("PREFORK_READY").ends_with("only the program itself can set `ready`"));
        assert!(unknown("PREFORK_COLOUR").ends_with("has no effect"));
        assert!(unknown("PREFORK_").ends_with("has no effect"));
    }
}
