//! [`Prefork`]: every option, its validation, and the ways to start.
//!
//! - `mod.rs`: the builder, and the ways to start a fleet
//! - `*_options.rs`: the builder's methods, by subject
//! - `values.rs`: the values of options
//! - `problems.rs`: the errors of options
//! - `environment.rs`: options from the environment
//! - `config/`: options from a configuration file
//! - `plan.rs`: rules across options, and defaults
//! - `check.rs`, `effective.rs`: the check of a configuration, and the effective options as text
//! - `worker_count.rs`: the number of children, and why it is that one
//! - `one_process.rs`: `workers = 0`

mod check;
mod config;
mod effective;
mod environment;
mod fleet_options;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hook_options;
mod one_process;
mod plan;
mod privilege_options;
mod problems;
mod socket_options;
mod tls_options;
mod values;
mod worker_count;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

pub(crate) use check::status_of_failure;
use config::ConfigFile;
use prefork_options as options;
pub use prefork_options::{CpuAffinity, Readiness};
use problems::Problems;
pub use values::OptionValue;
use values::Values;

use crate::child::{self, Limits, UpgradeCheck};
use crate::error::Error;
use crate::hooks::Hooks;
use crate::logging::{self, Logger};
use crate::master::{self, FleetHandle, Predecessor};
use crate::preload;
use crate::privileges::Privileges;
use crate::serve::{self, Serve, ServeFn, ServeOptions};
use crate::sys::{self, Role};
use crate::title::{default_title, title_master};

/// The builder of a fleet: a serve function and its options. [`#[prefork::main]`](crate::main) expands
/// to it.
///
/// Build it in `main`, before a thread is started or a runtime exists: the code up to
/// [`listen_and_serve`](Self::listen_and_serve) runs in the master and again in every child. A
/// program has one fleet, because its children run the same `main`.
///
/// ```no_run
/// use std::net::TcpListener;
///
/// fn serve(ln: TcpListener) -> std::io::Result<()> {
///     for stream in ln.incoming() {
///         # drop(stream);
///         // …
///     }
///     Ok(())
/// }
///
/// fn main() -> Result<(), prefork::Error> {
///     prefork::Prefork::new(serve)
///         .network(prefork::Network::Tcp4)
///         .workers(4)
///         .recover(5)
///         .listen_and_serve("127.0.0.1:8080")
/// }
/// ```
#[must_use = "a fleet does nothing until `listen_and_serve` or `run` is called"]
pub struct Prefork {
    serve: ServeFn,
    values: Values,
    hooks: Hooks,
    logger: Logger,
    handle: OnceLock<FleetHandle>,
    #[cfg(feature = "rustls")]
    crypto_provider: Option<std::sync::Arc<rustls::crypto::CryptoProvider>>,
    /// The configuration file in effect.
    config: Option<ConfigFile>,
    /// The errors of options with an invalid value.
    problems: Problems,
}

impl fmt::Debug for Prefork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefork")
            .field("serve", &self.serve)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}

impl Prefork {
    /// A fleet whose children run `serve`, with every option at its default.
    ///
    /// `serve` is a function of any shape that [`Serve`] describes.
    pub fn new<Args>(serve: impl Serve<Args>) -> Self {
        // As early as possible: until then, what an upgrade hands over is open for programs that `main` executes.
        child::role();
        Self {
            serve: serve.into_serve_fn(),
            values: Values::default(),
            hooks: Hooks::default(),
            logger: Logger::default(),
            handle: OnceLock::new(),
            #[cfg(feature = "rustls")]
            crypto_provider: None,
            config: None,
            problems: Problems::default(),
        }
    }

    /// A handle that operates the fleet from inside its master: it stops, reloads and resizes the fleet,
    /// and reports its status. Take it before [`listen_and_serve`](Self::listen_and_serve), which consumes
    /// the builder.
    ///
    /// ```no_run
    /// # fn serve(ln: std::net::TcpListener) {}
    /// # fn wait_for_the_service_manager() {}
    /// # fn main() -> Result<(), prefork::Error> {
    /// let fleet = prefork::Prefork::new(serve);
    /// if !prefork::is_child() {
    ///     let handle = fleet.handle();
    ///     std::thread::spawn(move || {
    ///         wait_for_the_service_manager();
    ///         handle.stop();
    ///     });
    /// }
    /// fleet.listen_and_serve("127.0.0.1:8080")
    /// # }
    /// ```
    #[must_use]
    pub fn handle(&self) -> FleetHandle {
        self.handle.get_or_init(FleetHandle::new).clone()
    }

    /// Listens on `addr` and serves until the fleet is stopped; fasthttp's `ListenAndServe`.
    ///
    /// Returns in the master only. In a child it calls the serve function, and then ends the process
    /// with the status that the function's result stands for. With `workers = 0` it calls the serve function in
    /// this process, and returns when the function has returned a success; with another status the process ends,
    /// and also if a stop is complete and a function without [`Shutdown`](crate::Shutdown) does not return. With the
    /// variable `PREFORK_CHECK=1` it checks the configuration, prints the result, and ends the process with status 0
    /// or 2.
    ///
    /// # Errors
    ///
    /// Every [`Error`]: invalid options, an address that cannot be bound, a fleet whose children failed
    /// too often. Of several invalid options, the first is returned and the others are logged. A requested stop
    /// is `Ok`.
    ///
    /// # Panics
    ///
    /// If a hook panics: with the hook's payload, after every child has exited.
    pub fn listen_and_serve(self, addr: impl AsRef<str>) -> Result<(), Error> {
        self.addr(addr).run()
    }

    /// [`listen_and_serve`](Self::listen_and_serve) with [`cert_files`](Self::cert_files);
    /// fasthttp's `ListenAndServeTLS`, except that the certificate always comes first.
    ///
    /// # Errors
    ///
    /// As `listen_and_serve`; and [`Error::Tls`] if the files cannot be used.
    pub fn listen_and_serve_tls(
        self,
        addr: impl AsRef<str>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<(), Error> {
        self.cert_files(cert, key).listen_and_serve(addr)
    }

    /// [`listen_and_serve`](Self::listen_and_serve) with [`cert_pem`](Self::cert_pem); fasthttp's
    /// `ListenAndServeTLSEmbed`.
    ///
    /// # Errors
    ///
    /// As `listen_and_serve`; and [`Error::Tls`] if the material cannot be used.
    pub fn listen_and_serve_tls_embed(
        self,
        addr: impl AsRef<str>,
        cert: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.cert_pem(cert, key).listen_and_serve(addr)
    }

    /// [`listen_and_serve`](Self::listen_and_serve) on the address that was set with
    /// [`addr`](Self::addr), or its default.
    ///
    /// # Errors
    ///
    /// As `listen_and_serve`.
    pub fn run(self) -> Result<(), Error> {
        match self.run_to_end()? {
            End::Fleet => Ok(()),
            End::Process(code) => end_process(code),
        }
    }

    /// What the attribute has set becomes a default, which environment variables override.
    pub(crate) fn with_attribute_values(self) -> Self {
        Self { values: self.values.into_attribute(), problems: self.problems.into_attribute(), ..self }
    }

    /// Runs the master, serves as a child, or checks the configuration.
    pub(crate) fn run_to_end(self) -> Result<End, Error> {
        child::adopt_early()?;
        let fleet = self.with_environment();
        if child::role() != Role::Master {
            return Ok(End::Process(fleet.with_config(child::config_file()).serve_as_child()));
        }
        let inheritance = sys::inheritance().map_err(|source| Error::Handshake { source })?;
        let predecessor = inheritance.map(Predecessor::read).transpose()?;
        let mut fleet = fleet.with_config(predecessor.as_ref().and_then(Predecessor::config_file));
        // A program that was executed in place of a master has a fleet to run.
        if predecessor.is_none() && check::is_requested() {
            return Ok(End::Process(fleet.check()));
        }
        if predecessor.is_none() && fleet.has_no_children() {
            return fleet.serve_in_one_process();
        }
        // Before the first message: the title can be set while there is one thread.
        title_master(&fleet.process_title());
        fleet.report_config();
        fleet.report_variables();
        let activated = predecessor.as_ref().map_or_else(sys::activated, Predecessor::activated);
        let activated = activated.map_err(Error::activation)?;
        let plan = fleet.plan(activated, &Privileges::default());
        let mut plan = plan.map_err(|problems| problems.into_first(&fleet.logger))?;
        // The check of this program has refused 0, unless the options have changed since.
        plan.settings.workers = plan.settings.workers.max(1);
        // Without a file, what user code has given to the builder is dropped after the fleet has ended.
        let _kept = fleet.watch_config(&mut plan);
        master::run(plan, predecessor)?;
        Ok(End::Fleet)
    }

    /// Serves in this child. The result is the status to exit with. A successor first checks all of its
    /// program's options, as a master would.
    fn serve_as_child(mut self) -> ExitCode {
        if let Some(check) = UpgradeCheck::begin() {
            return self.check_for_upgrade(check);
        }
        if logging::this_process().is_template() {
            let load = self.serve.take_load();
            match child::adopted().and_then(|template| preload::serve_orders(template, load, &self.logger)) {
                // This is a child that the template has forked.
                Ok(adopted) => child::adopt_again(adopted),
                Err(error) => return child::report_start_error(&error, &self.logger),
            }
        }
        // Where the master cannot hand the configuration file over, or this program names another one, the child
        // has tried to read it.
        let privileges = child::privileges_on_trial().or(self.lacks_config().then(Privileges::default));
        let checked = privileges.map(|privileges| self.plan(Vec::new(), &privileges));
        match checked {
            Some(Err(problems)) => {
                let error = problems.into_first(&self.logger);
                child::report_start_error(&error.into(), &self.logger)
            }
            Some(Ok(_)) | None => {
                let options = self.serve_options();
                serve::run(self.serve, options, self.hooks, &self.logger)
            }
        }
    }
}

impl Prefork {
    /// Checks this program's options, and tells the present master what the program needs.
    fn check_for_upgrade(&mut self, mut check: UpgradeCheck) -> ExitCode {
        let outcome = self.check_has_children();
        self.problems.add_error_of(outcome);
        let plan = self.plan(check.take_activated(), check.privileges());
        let plan = plan.map_err(|problems| problems.into_first(&self.logger));
        let needs = plan.and_then(|plan| master::needs_of(&plan));
        match needs.and_then(|needs| check.answer(&needs)) {
            Ok(()) => {
                logging::flush();
                ExitCode::SUCCESS
            }
            Err(error) => child::report_start_error(&error.into(), &self.logger),
        }
    }

    /// The name in the titles of the fleet's processes; empty: none.
    fn process_title(&self) -> String {
        self.get(&options::TITLE).unwrap_or_else(default_title)
    }

    /// The options that a child needs.
    fn serve_options(&self) -> ServeOptions {
        ServeOptions {
            tls: self.tls_options(),
            manual_ready: self.get(&options::READY) == Some(Readiness::Manual),
            limits: Limits {
                max_rss: self.get(&options::MAX_RSS),
                hang_timeout: self.get(&options::HANG_TIMEOUT),
                of_private: false,
            },
            #[cfg(feature = "tokio")]
            runtime: self.get_or_default(&options::RUNTIME),
        }
    }
}

/// What has ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The fleet, on request, or with `workers = 0` the serve function, with success.
    Fleet,
    /// This process was a child, served without children, or checked the configuration: it has to exit with this
    /// status.
    Process(ExitCode),
}

/// Exits with `code`. `ExitCode` does not tell its number, so that each number is compared with it.
fn end_process(code: ExitCode) -> ! {
    let status = (0..=u8::MAX).find(|status| ExitCode::from(*status) == code);
    std::process::exit(i32::from(status.unwrap_or(1)))
}
