//! From options to a plan: rules across options, and defaults.

use std::thread;

use super::value::bad;
use super::{MAX_WORKERS, Prefork};
use crate::error::Error;
use crate::listener::{Network, Sharing};
use crate::master::Plan;
use crate::serve::TlsForm;
use crate::supervisor::{RecoverPolicy, Settings};
use crate::tls::Material;

impl Prefork {
    /// Checks every option and fills in the defaults.
    pub(super) fn plan(&mut self) -> Result<Plan, Error> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        check_form(self.serve.form, &self.serving.material)?;
        let network = self.network.unwrap_or_else(|| network_of(self.addr.as_deref()));
        let addr = self.addr.clone().unwrap_or_else(|| network.default_addr().to_owned());
        // A system that does not tell has at least one.
        let workers = self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        self.serving.material.check()?;
        Ok(Plan {
            addr,
            network,
            sharing: if self.reuseport { Sharing::Reuseport } else { Sharing::Shared },
            backlog: self.backlog.and_then(|backlog| i32::try_from(backlog).ok()).unwrap_or(i32::MAX),
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
