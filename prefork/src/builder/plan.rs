//! From options to a plan: rules across options, and defaults.

use std::any::type_name;
use std::path::PathBuf;

use prefork_options::{self as options, OptionRow};
use socket2::Domain;

use super::Prefork;
use super::problems::Problems;
use super::values::{Source, bad, missing};
use super::worker_count::WorkerCount;
use crate::error::Error;
use crate::listen::{Endpoint, Network, Sharing};
use crate::master::{LoadedBy, Plan};
use crate::preload::LoadedType;
use crate::privileges::Privileges;
use crate::serve::{Demand, TlsForm};
use crate::supervisor::{RecoverPolicy, Settings};
use crate::sys::{self, Activated};
use crate::tls::{self, PemSource};

impl Prefork {
    /// Checks every option and fills in the defaults. `activated` are the sockets that the service
    /// manager opened, `bound` the privileges that this process runs under.
    ///
    /// # Errors
    ///
    /// Every problem of the options.
    pub(super) fn plan(&mut self, activated: Vec<Activated>, bound: &Privileges) -> Result<Plan, Problems> {
        let mut problems = std::mem::take(&mut self.problems);
        let plan = self.draft(activated, bound, &mut problems);
        problems.into_result().map(|()| plan)
    }

    /// [`plan`](Self::plan), which can be used only if it adds no problem.
    pub(super) fn draft(
        &self,
        activated: Vec<Activated>,
        bound: &Privileges,
        problems: &mut Problems,
    ) -> Plan {
        let tls = self.tls_options();
        if !problems.concern(&[&options::CERT, &options::KEY, &options::CLIENT_CA]) {
            self.check_tls(&tls, problems);
        }
        problems.add_error_of(self.check_preload());
        let endpoints = if problems.concern(&[&options::ADDR, &options::NETWORK]) {
            Vec::new()
        } else {
            self.endpoints(&activated, problems)
        };
        let sharing = problems.note(self.sharing()).unwrap_or(Sharing::Shared);
        let WorkerCount { count: workers, reason: workers_reason } = self.worker_count();
        let (privileges, cpus) = self.privileges(bound, problems);
        let mut sockets = self.socket_options();
        if bound.files.is_none() {
            problems.add_error_of(self.resolve_unix_owner(&mut sockets));
        }
        problems.name_setters(|row| self.values.source(row));
        let recover = RecoverPolicy::new(
            self.get(&options::RECOVER),
            self.get(&options::RECOVER_WINDOW),
            self.get_or_default(&options::RECOVER_INTERVAL),
        );
        Plan {
            endpoints,
            activated,
            sharing,
            loaded_by: self.serve.loads.map(|_| LoadedBy::with(workers)),
            workers_reason,
            sockets,
            health: self.get(&options::HEALTH),
            control: self.control_path(problems),
            pid_file: self.get(&options::PIDFILE),
            settings: Settings {
                workers,
                most_workers: usize::try_from(options::WORKERS_MAX).unwrap_or(usize::MAX),
                stop_delay: self.get_or_default(&options::STOP_DELAY),
                reload_parallel: self.get_or_default(&options::RELOAD_PARALLEL),
                max_lifetime: self.get(&options::MAX_LIFETIME),
                canary: self.get_or_default(&options::CANARY),
                hold: self.get(&options::HOLD),
                asks_canary: self.hooks.on_canary.is_some(),
                recover,
                grace: self.get_or_default(&options::SHUTDOWN_GRACE),
                start_timeout: self.get_or_default(&options::START_TIMEOUT),
            },
            privileges,
            title: self.process_title(),
            cpus,
            hooks: self.hooks.clone(),
            tls,
            logger: self.logger.clone(),
            handle: self.handle.get().cloned(),
            config: None,
        }
    }

    /// Checks that the program loads what the serve function takes.
    fn check_preload(&self) -> Result<(), Error> {
        let Some(LoadedType { name: wanted, .. }) = self.serve.not_loaded() else { return Ok(()) };
        let expected = format!(
            "a function that loads `{wanted}`, because the serve function takes `Preloaded<{wanted}>`"
        );
        Err(match self.serve.loads {
            None => missing("preload", expected),
            Some(LoadedType { name, .. }) => {
                // The builder has two methods.
                let fails = name.starts_with(type_name::<Result<(), ()>>().trim_end_matches("<(), ()>"));
                let hint =
                    if fails { "; `try_preload` is for a function that returns a `Result`" } else { "" };
                bad("preload", format!("a function that loads {name}"), format!("{expected}{hint}"))
            }
        })
    }

    fn sharing(&self) -> Result<Sharing, Error> {
        match self.get(&options::REUSEPORT) {
            Some(true) => Ok(Sharing::Reuseport),
            Some(false) if sys::NEEDS_REUSEPORT => Err(Error::OnlyReuseportOnWindows),
            None if sys::NEEDS_REUSEPORT => Ok(Sharing::Reuseport),
            Some(false) | None => Ok(Sharing::Shared),
        }
    }

    /// The path of the control socket, if the system has such sockets.
    fn control_path(&self, problems: &mut Problems) -> Option<PathBuf> {
        let path: PathBuf = self.get(&options::CONTROL)?;
        if let Some(expected) = sys::NO_CONTROL_SOCKET {
            problems.add(bad(self.name_of(&options::CONTROL), path.display(), expected));
        }
        Some(path)
    }

    /// The addresses, checked against the listeners that the serve function takes.
    fn endpoints(&self, activated: &[Activated], problems: &mut Problems) -> Vec<Endpoint> {
        let network = self.get::<Network>(&options::NETWORK);
        let addrs = match self.get::<Vec<String>>(&options::ADDR) {
            Some(addrs) => addrs,
            None => match default_addr(network.unwrap_or_default()) {
                Some(addr) => vec![addr.to_owned()],
                None => {
                    problems.add(missing("addr", "the path of a Unix socket"));
                    return Vec::new();
                }
            },
        };
        let written: Vec<Endpoint> = addrs.iter().map(|addr| Endpoint::new(addr, network)).collect();
        let endpoints = self.or_activated(written, activated);
        endpoints.iter().for_each(|endpoint| problems.add_error_of(endpoint.check_form()));
        let is_unix = |endpoint: &&Endpoint| endpoint.network == Network::Unix;
        let unsupported = || endpoints.iter().find(is_unix).filter(|_| !sys::HAS_UNIX_SOCKETS);
        let unfit = check_demand(self.serve.demand, &endpoints, activated).err().or_else(|| {
            let expected = "`host:port`: this system has no Unix sockets";
            Some((unsupported()?.addr.clone(), expected.to_owned()))
        });
        if let Some((addr, expected)) = unfit {
            problems.add(bad(self.name_of(&options::ADDR), addr, expected));
        }
        if self.get_or_default(&options::REUSEPORT) && endpoints.iter().all(|endpoint| is_unix(&endpoint)) {
            let name = self.name_of(&options::REUSEPORT);
            problems.add(bad(name, true, "`false`: Unix sockets are always shared"));
        }
        endpoints
    }

    /// Checks that certificate and key are both set or both unset, and that no TLS option is ignored.
    fn check_tls(&self, tls: &tls::TlsOptions, problems: &mut Problems) {
        let tls::TlsOptions { cert, key, client_ca, .. } = tls;
        let takes_files = self.serve.needs_tls || self.serve.form == TlsForm::Files;
        let (by_cert, by_key) = (self.is_by_operator(&options::CERT), self.is_by_operator(&options::KEY));
        match (cert, key) {
            (Some(PemSource::File(path)), _) if by_cert && !takes_files => problems.add(bad(
                self.name_of(&options::CERT),
                path.display(),
                "nothing: the serve function of this program takes no certificate from a file",
            )),
            // Of two pairs, half of each.
            (Some(_), _) if by_cert && !by_key => {
                problems.add(self.unpaired(&options::CERT, &options::KEY, "private key"));
            }
            (_, Some(_)) if by_key && !by_cert => {
                problems.add(self.unpaired(&options::KEY, &options::CERT, "certificate"));
            }
            (None, None) if self.serve.needs_tls => problems.add(missing(
                "cert",
                "a certificate, which the serve function needs: set `cert` and `key`, or PREFORK_CERT and \
                 PREFORK_KEY",
            )),
            _ => problems.add_error_of(check_form(self.serve.form, tls)),
        }
        match client_ca {
            Some(origin) if !self.serve.needs_tls || cert.is_none() => problems.add(bad(
                self.name_of(&options::CLIENT_CA),
                origin,
                "a serve function that takes `Arc<rustls::ServerConfig>`, which verifies client certificates",
            )),
            _ => {}
        }
    }

    /// The error for one half of a pair; both have to come from the operator.
    fn unpaired(&self, given: &OptionRow, absent: &OptionRow, what: &str) -> Error {
        let (name, given) = match (self.values.source(given), &self.config) {
            (Some(Source::File), Some(file)) => {
                (format!("{}: {}", file.path().display(), absent.name), format!("`{}`", given.name))
            }
            _ => (absent.variable(), given.variable()),
        };
        missing(name, format!("the file of the {what} that {given} goes with"))
    }

    /// The service manager's sockets replace the addresses, unless one of the addresses names a socket:
    /// the socket unit decides where to listen.
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
                    "the service manager's socket `{name}` has no effect: no address names it"
                ));
            }
        }
        if let Some(addrs) = self.get::<Vec<String>>(&options::ADDR).filter(|_| !named) {
            let (event, addrs) = (self.logger.event("activated"), addrs.join(", "));
            event.info(format_args!("the service manager's sockets take the place of {addrs}"));
        }
        if self.get_or_default(&options::REUSEPORT) {
            let event = self.logger.event("idle_reuseport");
            event.warn("reuseport has no effect on the service manager's sockets, which all children share");
        }
        endpoints
    }
}

/// The default address: the loopback interface, port 8080. A Unix socket has no default.
fn default_addr(network: Network) -> Option<&'static str> {
    match network {
        Network::Tcp6 => Some("[::1]:8080"),
        Network::Unix => None,
        _ => Some("127.0.0.1:8080"),
    }
}

/// Checks that the serve function takes as many listeners as there are addresses, and of their kinds. Otherwise
/// returns the addresses, and which ones it takes.
fn check_demand(
    demand: Demand,
    endpoints: &[Endpoint],
    activated: &[Activated],
) -> Result<(), (String, String)> {
    let Demand::Each(kinds) = demand else { return Ok(()) };
    if kinds.len() != endpoints.len() {
        let addrs: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.addr.as_str()).collect();
        let addresses = if kinds.len() == 1 { "1 address" } else { &format!("{} addresses", kinds.len()) };
        let expected = format!("{addresses}, as many as the serve function takes listeners");
        return Err((addrs.join(", "), expected));
    }
    let mut left: Vec<&Activated> = activated.iter().collect();
    // `None`: the service manager's socket was not passed to this process.
    let mut network = |endpoint: &Endpoint| {
        let Some(name) = endpoint.activated_name() else { return Some(endpoint.network) };
        let passed = left.remove(left.iter().position(|passed| passed.name == name)?);
        let domain = passed.socket.local_addr().ok()?.domain();
        Some(if domain == Domain::UNIX { Network::Unix } else { Network::Tcp })
    };
    let mut pairs = kinds.iter().zip(endpoints);
    let wrong = pairs.find(|(kind, endpoint)| network(endpoint).is_some_and(|network| !kind.fits(network)));
    wrong.map_or(Ok(()), |(kind, endpoint)| Err((endpoint.addr.clone(), kind.describe().to_owned())))
}

/// Checks that the TLS material which the serve function takes is set.
fn check_form(form: TlsForm, tls: &tls::TlsOptions) -> Result<(), Error> {
    match (form, &tls.cert) {
        (TlsForm::Plain, _)
        | (TlsForm::Files, Some(PemSource::File(_)))
        | (TlsForm::Embedded, Some(PemSource::Embedded(_))) => Ok(()),
        (TlsForm::Files, _) => {
            Err(missing("cert", "the paths that the serve function takes: use `listen_and_serve_tls`"))
        }
        (TlsForm::Embedded, _) => Err(missing(
            "cert_pem",
            "the PEM text that the serve function takes: use `listen_and_serve_tls_embed`",
        )),
    }
}
