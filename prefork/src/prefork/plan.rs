//! From options to a plan: every check and every default.

use std::thread;
use std::time::Duration;

use super::Prefork;
use super::value::{MAX_WORKERS, bad, check_duration, check_workers, expected_workers, from_environment};
use crate::error::Error;
use crate::listener::{Network, Sharing};
use crate::master::Plan;
use crate::serve::TlsForm;
use crate::supervisor::{RecoverPolicy, Settings};
use crate::tls::Material;

const ADDR_VARIABLE: &str = "PREFORK_ADDR";
const WORKERS_VARIABLE: &str = "PREFORK_WORKERS";

/// A shorter hang than this is a busy moment.
const LEAST_HANG: Duration = Duration::from_millis(100);

impl Prefork {
    /// Checks every option and fills in the defaults.
    pub(super) fn plan(&mut self) -> Result<Plan, Error> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let least_wait = Duration::from_millis(1);
        check_duration("recover_window", self.recover_window.unwrap_or(least_wait), least_wait)?;
        check_duration("recover_interval", self.recover_interval, Duration::ZERO)?;
        check_duration("shutdown_grace", self.shutdown_grace, Duration::ZERO)?;
        check_duration("start_timeout", self.start_timeout, least_wait)?;
        check_duration("stop_delay", self.stop_delay, Duration::ZERO)?;
        check_duration("max_lifetime", self.max_lifetime.unwrap_or(least_wait), least_wait)?;
        let hang_timeout = self.serving.limits.hang_timeout.unwrap_or(LEAST_HANG);
        check_duration("hang_timeout", hang_timeout, LEAST_HANG)?;
        if self.reload_parallel == 0 {
            return Err(bad("reload_parallel", 0, "at least 1"));
        }
        check_form(self.serve.form, &self.serving.material)?;
        let addr = match &self.addr {
            Some(addr) => Some(addr.clone()),
            None => from_environment(ADDR_VARIABLE)?,
        };
        let network = self.network.unwrap_or_else(|| network_of(addr.as_deref()));
        let addr = addr.unwrap_or_else(|| network.default_addr().to_owned());
        let workers = match self.workers {
            Some(workers) => check_workers("workers", workers)?,
            None => workers_by_default()?,
        };
        let backlog = match self.backlog.map(i32::try_from) {
            None => i32::MAX,
            Some(Ok(backlog)) if backlog > 0 => backlog,
            Some(_) => {
                let value = self.backlog.unwrap_or_default();
                return Err(bad("backlog", value, format!("a number from 1 to {}", i32::MAX)));
            }
        };
        self.serving.material.check()?;
        Ok(Plan {
            addr,
            network,
            sharing: if self.reuseport { Sharing::Reuseport } else { Sharing::Shared },
            backlog,
            settings: Settings {
                workers,
                most_workers: MAX_WORKERS,
                stop_delay: self.stop_delay,
                reload_parallel: self.reload_parallel,
                max_lifetime: self.max_lifetime,
                recover: RecoverPolicy::new(self.recover, self.recover_window, self.recover_interval),
                grace: self.shutdown_grace,
                start_timeout: self.start_timeout,
            },
            hooks: self.hooks.clone(),
            logger: self.logger.clone(),
        })
    }
}

/// A serve function that takes TLS material needs options that name it.
fn check_form(form: TlsForm, material: &Material) -> Result<(), Error> {
    match (form, material) {
        (TlsForm::Files, Material::None | Material::Embedded { .. }) => {
            Err(bad("cert", "unset", "the paths that the serve function takes: use `listen_and_serve_tls`"))
        }
        (TlsForm::Embedded, Material::None | Material::Files { .. }) => Err(bad(
            "cert_pem",
            "unset",
            "the PEM text that the serve function takes: use `listen_and_serve_tls_embed`",
        )),
        (TlsForm::Plain, _)
        | (TlsForm::Files, Material::Files { .. })
        | (TlsForm::Embedded, Material::Embedded { .. }) => Ok(()),
    }
}

/// Without a word of the user's it is tcp4, unless the address can only be meant for tcp6.
fn network_of(addr: Option<&str>) -> Network {
    if addr.is_some_and(|addr| addr.starts_with('[')) { Network::Tcp6 } else { Network::default() }
}

fn workers_by_default() -> Result<usize, Error> {
    match from_environment(WORKERS_VARIABLE)? {
        Some(text) => {
            let workers =
                text.trim().parse().map_err(|_| bad(WORKERS_VARIABLE, &text, expected_workers()))?;
            check_workers(WORKERS_VARIABLE, workers)
        }
        // A system that does not tell has at least one.
        None => Ok(thread::available_parallelism().map_or(1, usize::from)),
    }
}
