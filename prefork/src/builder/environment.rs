//! Options from outside: where the program says nothing, an operator may.
//!
//! The variable of an option is `PREFORK_` and its name in capitals. What it holds is read by the
//! same code as the text of the attribute, and refused in the same words. What the program itself
//! has set stays as it is.

use std::env;
use std::ops::RangeInclusive;

use super::Prefork;
use super::fleet_options::{FAILURES, SLOTS};
use super::privilege_options::{NICE, OPEN_FILES};
use super::socket_options::{BACKLOGS, QUEUES};
use super::value::{Ranged, bad};
use crate::sys;
use crate::tls::PemSource;

struct Variable {
    name: &'static str,
    option: &'static str,
    set: fn(Prefork, &str) -> Prefork,
}

const fn variable(name: &'static str, option: &'static str, set: fn(Prefork, &str) -> Prefork) -> Variable {
    Variable { name, option, set }
}

/// Every option that is an operator's business.
const VARIABLES: &[Variable] = &[
    variable("PREFORK_ADDR", "addr", |fleet, text| fleet.addrs(text.split(',').map(str::trim))),
    variable("PREFORK_NETWORK", "network", |fleet, text| fleet.network(text)),
    variable("PREFORK_REUSEPORT", "reuseport", |fleet, text| fleet.switch(text, Prefork::reuseport)),
    variable("PREFORK_BACKLOG", "backlog", |fleet, text| fleet.number(text, BACKLOGS, Prefork::backlog)),
    variable("PREFORK_NODELAY", "nodelay", |fleet, text| fleet.switch(text, Prefork::nodelay)),
    variable("PREFORK_KEEPALIVE", "keepalive", |fleet, text| fleet.keepalive(text)),
    variable("PREFORK_DEFER_ACCEPT", "defer_accept", |fleet, text| fleet.defer_accept(text)),
    variable("PREFORK_FASTOPEN", "fastopen", |fleet, text| fleet.number(text, QUEUES, Prefork::fastopen)),
    variable("PREFORK_UNIX_MODE", "unix_mode", |fleet, text| fleet.unix_mode(text)),
    variable("PREFORK_UNIX_OWNER", "unix_owner", |fleet, text| fleet.unix_owner(text)),
    variable("PREFORK_HEALTH", "health", |fleet, text| fleet.health(text)),
    variable("PREFORK_WORKERS", "workers", |fleet, text| fleet.number(text, SLOTS, Prefork::workers)),
    variable("PREFORK_RECOVER", "recover", |fleet, text| fleet.number(text, FAILURES, Prefork::recover)),
    variable("PREFORK_RECOVER_WINDOW", "recover_window", |fleet, text| fleet.recover_window(text)),
    variable("PREFORK_RECOVER_INTERVAL", "recover_interval", |fleet, text| fleet.recover_interval(text)),
    variable("PREFORK_SHUTDOWN_GRACE", "shutdown_grace", |fleet, text| fleet.shutdown_grace(text)),
    variable("PREFORK_START_TIMEOUT", "start_timeout", |fleet, text| fleet.start_timeout(text)),
    variable("PREFORK_STOP_DELAY", "stop_delay", |fleet, text| fleet.stop_delay(text)),
    variable("PREFORK_RELOAD_PARALLEL", "reload_parallel", |fleet, text| {
        fleet.number(text, SLOTS, Prefork::reload_parallel)
    }),
    variable("PREFORK_MAX_LIFETIME", "max_lifetime", |fleet, text| fleet.max_lifetime(text)),
    variable("PREFORK_MAX_RSS", "max_rss", |fleet, text| fleet.max_rss(text)),
    variable("PREFORK_HANG_TIMEOUT", "hang_timeout", |fleet, text| fleet.hang_timeout(text)),
    variable("PREFORK_TITLE", "title", |fleet, text| fleet.title(text)),
    variable("PREFORK_USER", "user", |fleet, text| fleet.user(text)),
    variable("PREFORK_GROUP", "group", |fleet, text| fleet.group(text)),
    variable("PREFORK_NO_NEW_PRIVS", "no_new_privs", |fleet, text| fleet.switch(text, Prefork::no_new_privs)),
    variable("PREFORK_CPU_AFFINITY", "cpu_affinity", |fleet, text| fleet.cpu_affinity(text)),
    variable("PREFORK_NICE", "nice", |fleet, text| fleet.number(text, NICE, Prefork::nice)),
    variable("PREFORK_RLIMIT_NOFILE", "rlimit_nofile", |fleet, text| {
        fleet.number(text, OPEN_FILES, Prefork::rlimit_nofile)
    }),
    variable("PREFORK_LANDLOCK_READ", "landlock_read", |fleet, text| {
        fleet.landlock_read(env::split_paths(text))
    }),
    variable("PREFORK_LANDLOCK_WRITE", "landlock_write", |fleet, text| {
        fleet.landlock_write(env::split_paths(text))
    }),
    variable("PREFORK_CERT", "cert", |mut fleet, text| {
        fleet.serving.tls.cert = Some(PemSource::File(text.into()));
        fleet
    }),
    variable("PREFORK_KEY", "key", |mut fleet, text| {
        fleet.serving.tls.key = Some(PemSource::File(text.into()));
        fleet
    }),
    #[cfg(feature = "rustls")]
    variable("PREFORK_CLIENT_CA", "client_ca", |fleet, text| fleet.client_ca(text)),
    #[cfg(feature = "tokio")]
    variable("PREFORK_RUNTIME", "runtime", |fleet, text| fleet.runtime(text)),
];

const PREFIX: &str = "PREFORK_";

impl Prefork {
    /// Notes that the program sets an option, or that a variable does; says what to call it in a
    /// message.
    pub(super) fn note_author(&mut self, option: &'static str) -> &'static str {
        self.reading.unwrap_or_else(|| {
            self.said.insert(option);
            option
        })
    }

    /// Sets what the program has left open from the environment.
    pub(super) fn with_environment(mut self) -> Self {
        for Variable { name, option, set } in VARIABLES {
            if self.said.contains(option) {
                continue;
            }
            match env::var(name) {
                // Unset and empty are the same.
                Ok(text) if text.is_empty() => {}
                Err(env::VarError::NotPresent) => {}
                Ok(text) => {
                    self.reading = Some(name);
                    self = set(self, text.trim());
                    self.reading = None;
                }
                Err(env::VarError::NotUnicode(text)) => {
                    self.refuse(bad(name, text.to_string_lossy(), "text in UTF-8"));
                }
            }
        }
        self
    }

    /// Sets an option whose method takes a number, from the text of one in `range`.
    fn number<T: Ranged>(mut self, text: &str, range: RangeInclusive<T>, set: fn(Self, T) -> Self) -> Self {
        match self.read_in(self.variable(), text, range) {
            Some(number) => set(self, number),
            None => self,
        }
    }

    /// Sets an option whose method takes a `bool`.
    fn switch(mut self, text: &str, set: fn(Self, bool) -> Self) -> Self {
        match self.read(self.variable(), text) {
            Some(on) => set(self, on),
            None => self,
        }
    }

    /// What messages call the option, while its variable is read.
    fn variable(&self) -> &'static str {
        self.reading.unwrap_or_default()
    }

    /// Says which variables have no effect, for somebody meant one when he set it.
    pub(super) fn warn_of_idle_variables(&self) {
        for (name, value) in env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            match VARIABLES.iter().find(|variable| variable.name == name) {
                Some(Variable { option, .. }) if self.said.contains(option) && !value.is_empty() => {
                    self.logger
                        .event("idle_variable")
                        .warn(format_args!("{name} has no effect: the program itself sets `{option}`"));
                }
                Some(_) => {}
                None if sys::OWN_VARIABLES.contains(&name) => {}
                None => self.logger.event("idle_variable").warn(unknown(name)),
            }
        }
    }
}

fn unknown(name: &str) -> String {
    // A third of the letters wrong is still a slip; more than that is another word.
    let tolerance = (name.len() - PREFIX.len()).div_ceil(3);
    let distance = |variable: &Variable| strsim::levenshtein(variable.name, name);
    let nearest = VARIABLES.iter().min_by_key(|variable| distance(variable));
    match nearest.filter(|variable| distance(variable) <= tolerance) {
        Some(variable) => format!("{name} is no variable of prefork's: did you mean {}?", variable.name),
        None => format!("{name} is no variable of prefork's, and has no effect"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_their_options() {
        for Variable { name, option, .. } in VARIABLES {
            assert_eq!(*name, format!("{PREFIX}{}", option.to_uppercase()));
        }
    }

    #[test]
    fn slips_are_answered_with_the_right_spelling() {
        assert!(unknown("PREFORK_WORKER").ends_with("did you mean PREFORK_WORKERS?"));
        assert!(unknown("PREFORK_SHUTDOWN_GRACE_PERIOD").ends_with("did you mean PREFORK_SHUTDOWN_GRACE?"));
        assert!(unknown("PREFORK_COLOUR").ends_with("has no effect"));
        assert!(unknown("PREFORK_").ends_with("has no effect"));
    }
}
