//! From options to a plan: rules across options, and defaults.

use std::thread;

use super::value::bad;
use super::{MAX_WORKERS, Prefork};
use crate::conditions::Conditions;
use crate::error::Error;
use crate::listener::{Endpoint, Network, Sharing};
use crate::master::Plan;
use crate::serve::{Demand, TlsForm};
use crate::supervisor::{RecoverPolicy, Settings};
use crate::title::default_title;
use crate::tls::Material;

impl Prefork {
    /// Checks every option and fills in the defaults. `bound` are the conditions that this process
    /// runs under.
    pub(super) fn plan(&mut self, bound: &Conditions) -> Result<Plan, Error> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        check_form(self.serve.form, &self.serving.material)?;
        let endpoints = self.endpoints()?;
        // A system that does not tell has at least one.
        let workers = self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        self.serving.material.check()?;
        let (conditions, cpus) = self.wishes.resolve(bound)?;
        if bound.files.is_none() {
            self.resolve_unix_owner()?;
        }
        Ok(Plan {
            endpoints,
            sharing: if self.reuseport { Sharing::Reuseport } else { Sharing::Shared },
            sockets: self.sockets,
            health: self.health.clone(),
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
            conditions,
            title: self.title.clone().unwrap_or_else(default_title),
            cpus,
            hooks: self.hooks.clone(),
            logger: self.logger.clone(),
        })
    }

    /// The addresses, which the serve function's listeners have to fit.
    fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let addrs = match self.addrs.as_slice() {
            [] => {
                let default = self.network.unwrap_or_default().default_addr();
                vec![default.ok_or_else(|| bad("addr", "unset", "the path of a Unix socket"))?]
            }
            addrs => addrs.iter().map(String::as_str).collect(),
        };
        let endpoints: Vec<Endpoint> = addrs.iter().map(|addr| Endpoint::new(addr, self.network)).collect();
        check_demand(self.serve.demand, &endpoints)?;
        if self.reuseport && endpoints.iter().all(|endpoint| endpoint.network == Network::Unix) {
            return Err(bad("reuseport", true, "`false`: Unix sockets are always shared"));
        }
        Ok(endpoints)
    }
}

/// A serve function takes as many listeners as there are addresses, and of their kinds.
fn check_demand(demand: Demand, endpoints: &[Endpoint]) -> Result<(), Error> {
    let Demand::Each(kinds) = demand else { return Ok(()) };
    if kinds.len() != endpoints.len() {
        let addrs: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.addr.as_str()).collect();
        let addresses = if kinds.len() == 1 { "1 address" } else { &format!("{} addresses", kinds.len()) };
        let expected = format!("{addresses}, as many as the serve function takes listeners");
        return Err(bad("addr", addrs.join(", "), expected));
    }
    let wrong = kinds.iter().zip(endpoints).find(|(kind, endpoint)| !kind.fits(endpoint.network));
    wrong.map_or(Ok(()), |(kind, endpoint)| Err(bad("addr", &endpoint.addr, kind.describe())))
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
