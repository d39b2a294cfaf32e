//! From options to a plan: rules across options, and defaults.

use std::thread;

use socket2::Domain;

use super::value::bad;
use super::{MAX_WORKERS, Prefork};
use crate::conditions::Conditions;
use crate::error::Error;
use crate::listener::{Endpoint, Network, Sharing};
use crate::master::Plan;
use crate::serve::{Demand, TlsForm};
use crate::supervisor::{RecoverPolicy, Settings};
use crate::sys::Activated;
use crate::title::default_title;
use crate::tls::Material;

impl Prefork {
    /// Checks every option and fills in the defaults. `activated` are the sockets that the service
    /// manager opened, `bound` the conditions that this process runs under.
    pub(super) fn plan(&mut self, activated: Vec<Activated>, bound: &Conditions) -> Result<Plan, Error> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        check_form(self.serve.form, &self.serving.material)?;
        let endpoints = self.endpoints(&activated)?;
        // A system that does not tell has at least one.
        let workers = self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        self.serving.material.check()?;
        let (conditions, cpus) = self.wishes.resolve(bound)?;
        if bound.files.is_none() {
            self.resolve_unix_owner()?;
        }
        Ok(Plan {
            endpoints,
            activated,
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
    fn endpoints(&self, activated: &[Activated]) -> Result<Vec<Endpoint>, Error> {
        let addrs = match self.addrs.as_slice() {
            [] => {
                let default = self.network.unwrap_or_default().default_addr();
                vec![default.ok_or_else(|| bad("addr", "unset", "the path of a Unix socket"))?]
            }
            addrs => addrs.iter().map(String::as_str).collect(),
        };
        let written: Vec<Endpoint> = addrs.iter().map(|addr| Endpoint::new(addr, self.network)).collect();
        let endpoints = self.or_activated(written, activated);
        check_demand(self.serve.demand, &endpoints, activated)?;
        if self.reuseport && endpoints.iter().all(|endpoint| endpoint.network == Network::Unix) {
            return Err(bad("reuseport", true, "`false`: Unix sockets are always shared"));
        }
        Ok(endpoints)
    }
}

impl Prefork {
    /// The service manager's sockets in place of these addresses, unless they are named among them:
    /// whoever wrote a unit for the socket has said where to listen.
    fn or_activated(&self, written: Vec<Endpoint>, activated: &[Activated]) -> Vec<Endpoint> {
        if activated.is_empty() {
            return written;
        }
        let named = written.iter().any(Endpoint::is_activated);
        let endpoints = if named {
            written
        } else {
            activated.iter().map(|Activated { name, .. }| Endpoint::activated(name)).collect()
        };
        for Activated { name, .. } in activated {
            if !endpoints.contains(&Endpoint::activated(name)) {
                let event = self.logger.event("idle_socket");
                event.warn(format_args!(
                    "nobody listens on the service manager's socket `{name}`: no address names it"
                ));
            }
        }
        if !named && !self.addrs.is_empty() {
            let (event, addrs) = (self.logger.event("activated"), self.addrs.join(", "));
            event.info(format_args!("the service manager says where to listen, in place of {addrs}"));
        }
        if self.reuseport {
            let event = self.logger.event("idle_reuseport");
            event.warn("reuseport has no effect on the service manager's sockets, which all children share");
        }
        endpoints
    }
}

/// A serve function takes as many listeners as there are addresses, and of their kinds.
fn check_demand(demand: Demand, endpoints: &[Endpoint], activated: &[Activated]) -> Result<(), Error> {
    let Demand::Each(kinds) = demand else { return Ok(()) };
    if kinds.len() != endpoints.len() {
        let addrs: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.addr.as_str()).collect();
        let addresses = if kinds.len() == 1 { "1 address" } else { &format!("{} addresses", kinds.len()) };
        let expected = format!("{addresses}, as many as the serve function takes listeners");
        return Err(bad("addr", addrs.join(", "), expected));
    }
    let mut left: Vec<&Activated> = activated.iter().collect();
    // `None` for a socket of the service manager's in a process that it was not passed to.
    let mut network = |endpoint: &Endpoint| {
        let Some(name) = endpoint.activated_name() else { return Some(endpoint.network) };
        let passed = left.remove(left.iter().position(|passed| passed.name == name)?);
        let domain = passed.socket.local_addr().ok()?.domain();
        Some(if domain == Domain::UNIX { Network::Unix } else { Network::Tcp })
    };
    let mut pairs = kinds.iter().zip(endpoints);
    let wrong = pairs.find(|(kind, endpoint)| network(endpoint).is_some_and(|network| !kind.fits(network)));
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
