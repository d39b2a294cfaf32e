//! [`Prefork`]: every option, its validation, and the ways to start.

mod plan;
mod value;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use value::bad;
pub use value::{OptionValue, Readiness};

use crate::child;
use crate::error::Error;
use crate::hooks::{HookResult, Hooks};
use crate::listener::Network;
use crate::logging::Logger;
use crate::master;
use crate::serve::{Serve, ServeFn, ServeOptions};
use crate::sys::Role;
use crate::tls::Material;

const DEFAULT_GRACE: Duration = Duration::from_secs(5);
const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(60);

/// A fleet to be: a serve function and its options. What [`#[prefork::main]`](crate::main) makes
/// for you.
///
/// Build it in `main`, before any thread is started or any runtime exists: the code up to
/// [`listen_and_serve`](Self::listen_and_serve) runs in the master and again in every child. A
/// program has one fleet; its children find their way by running the same `main`.
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
    addr: Option<String>,
    network: Option<Network>,
    reuseport: bool,
    workers: Option<usize>,
    backlog: Option<u32>,
    recover: Option<u32>,
    recover_window: Option<Duration>,
    recover_interval: Duration,
    shutdown_grace: Duration,
    start_timeout: Duration,
    stop_delay: Duration,
    reload_parallel: usize,
    max_lifetime: Option<Duration>,
    serving: ServeOptions,
    hooks: Hooks,
    logger: Logger,
    /// The first option whose value could not be read.
    problem: Option<Error>,
}

impl fmt::Debug for Prefork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefork")
            .field("serve", &self.serve)
            .field("addr", &self.addr)
            .field("network", &self.network)
            .field("reuseport", &self.reuseport)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl Prefork {
    /// A fleet whose children run `serve`, with every option at its default.
    ///
    /// `serve` is a function of any shape that [`Serve`] describes.
    pub fn new<Args>(serve: impl Serve<Args>) -> Self {
        Self {
            serve: serve.into_serve_fn(),
            addr: None,
            network: None,
            reuseport: false,
            workers: None,
            backlog: None,
            recover: None,
            recover_window: None,
            recover_interval: Duration::ZERO,
            shutdown_grace: DEFAULT_GRACE,
            start_timeout: DEFAULT_START_TIMEOUT,
            stop_delay: Duration::ZERO,
            reload_parallel: 1,
            max_lifetime: None,
            serving: ServeOptions::default(),
            hooks: Hooks::default(),
            logger: Logger::default(),
            problem: None,
        }
    }

    /// Where to listen: `host:port`, `:port` (every address of the network), `[v6 address]:port`;
    /// port 0 lets the system choose one port for the fleet.
    ///
    /// Default: the environment variable `PREFORK_ADDR`, else port 8080 of the loopback interface.
    pub fn addr(mut self, addr: impl AsRef<str>) -> Self {
        self.addr = Some(addr.as_ref().to_owned());
        self
    }

    /// The network, as a [`Network`] or as `"tcp4"`, `"tcp6"` or `"tcp"`. Default: tcp4, or tcp6 if
    /// the address is an IPv6 literal.
    pub fn network(mut self, network: impl OptionValue<Network>) -> Self {
        self.network = self.read("network", network).or(self.network);
        self
    }

    /// Whether each slot has a socket of its own, over which the kernel spreads new connections.
    /// Default: no, all children accept from one. Windows has this mode only.
    pub fn reuseport(mut self, reuseport: bool) -> Self {
        self.reuseport = reuseport;
        self
    }

    /// How many children there are, 1 to 4096. Default: the environment variable
    /// `PREFORK_WORKERS`, else the parallelism available to the process, which heeds cgroups.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How many connections may wait to be accepted. Default: the system's maximum.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = Some(backlog);
        self
    }

    /// How many failures of children are recovered; one more stops the fleet with
    /// [`Error::OverRecovery`]. They are counted in the
    /// [`recover_window`](Self::recover_window), without one over the master's life. Default, with
    /// neither set: five within a minute.
    ///
    /// A failure is any end of a child that nobody asked for, except a clean one (status 0) of a
    /// child that was ready for a second or more.
    pub fn recover(mut self, failures: u32) -> Self {
        self.recover = Some(failures);
        self
    }

    /// How long a failure counts.
    pub fn recover_window(mut self, window: impl OptionValue<Duration>) -> Self {
        self.recover_window = self.read("recover_window", window).or(self.recover_window);
        self
    }

    /// How long a slot stays empty before its child is replaced. Never delays a stop. Default: not
    /// at all, unless its children fail again and again: then ever longer, up to 30 s.
    pub fn recover_interval(mut self, interval: impl OptionValue<Duration>) -> Self {
        self.recover_interval = self.read("recover_interval", interval).unwrap_or(self.recover_interval);
        self
    }

    /// How long children may take to finish what they have accepted when the fleet stops; then they
    /// are killed. Default: 5 s.
    pub fn shutdown_grace(mut self, grace: impl OptionValue<Duration>) -> Self {
        self.shutdown_grace = self.read("shutdown_grace", grace).unwrap_or(self.shutdown_grace);
        self
    }

    /// How long a child may take to become ready; then it is killed, and has failed. Default: 60 s.
    pub fn start_timeout(mut self, timeout: impl OptionValue<Duration>) -> Self {
        self.start_timeout = self.read("start_timeout", timeout).unwrap_or(self.start_timeout);
        self
    }

    /// When a child is ready, as a [`Readiness`] or as `"auto"` (the default: when its serve function
    /// is about to be called) or `"manual"` (when it calls [`ChildContext::ready`]).
    ///
    /// [`ChildContext::ready`]: crate::ChildContext::ready
    pub fn ready(mut self, ready: impl OptionValue<Readiness>) -> Self {
        let ready = self.read("ready", ready).unwrap_or_default();
        self.serving.manual_ready = ready == Readiness::Manual;
        self
    }

    /// How long the fleet goes on accepting after it was asked to stop, because load balancers notice
    /// late; meanwhile [`ChildContext::is_stopping`](crate::ChildContext::is_stopping) is true.
    /// Default: not at all.
    pub fn stop_delay(mut self, delay: impl OptionValue<Duration>) -> Self {
        self.stop_delay = self.read("stop_delay", delay).unwrap_or(self.stop_delay);
        self
    }

    /// How many slots a reload replaces at the same time. Default: 1.
    pub fn reload_parallel(mut self, slots: usize) -> Self {
        self.reload_parallel = slots;
        self
    }

    /// How old a child may become; then it is replaced, new before old. Each child's own limit is up
    /// to a tenth less, so that not all come due together. Default: any age.
    pub fn max_lifetime(mut self, limit: impl OptionValue<Duration>) -> Self {
        self.max_lifetime = self.read("max_lifetime", limit).or(self.max_lifetime);
        self
    }

    /// How much memory a child may occupy, in bytes or as text such as `"512MiB"`; then it is
    /// replaced, new before old. Default: any amount.
    pub fn max_rss(mut self, limit: impl OptionValue<u64>) -> Self {
        self.serving.limits.max_rss = self.read("max_rss", limit).or(self.serving.limits.max_rss);
        self
    }

    /// How long an `async` child's runtime may fail to get on, and how long a
    /// [`ChildContext::busy`](crate::ChildContext::busy) may last; then the child reports where its
    /// threads are and ends, and has failed. Idle is no hang, nor is a suspended machine. Default: for
    /// ever.
    pub fn hang_timeout(mut self, timeout: impl OptionValue<Duration>) -> Self {
        let timeout = self.read("hang_timeout", timeout);
        self.serving.limits.hang_timeout = timeout.or(self.serving.limits.hang_timeout);
        self
    }

    /// TLS certificate chain and private key, as paths of PEM files: checked in the master,
    /// handed to a serve function that takes `&Path, &Path`.
    pub fn cert_files(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.serving.material = Material::Files { cert: cert.into(), key: key.into() };
        self
    }

    /// TLS certificate chain and private key, as PEM text: checked in the master, handed to a
    /// serve function that takes `&[u8], &[u8]`.
    pub fn cert_pem(mut self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.serving.material =
            Material::Embedded { cert: cert.as_ref().to_vec(), key: key.as_ref().to_vec() };
        self
    }

    /// The tokio runtime that an `async` serve function runs on, one in each child, as a
    /// [`Runtime`](crate::Runtime) or as `"current_thread"` (the default) or `"multi_thread"`.
    #[cfg(feature = "tokio")]
    pub fn runtime(mut self, runtime: impl OptionValue<crate::Runtime>) -> Self {
        self.serving.runtime = self.read("runtime", runtime).unwrap_or(self.serving.runtime);
        self
    }

    /// Runs in each child when its master is gone; the child then drains, and exits with 1.
    ///
    /// It runs in a thread beside the serve function. It may end the process itself.
    pub fn on_master_death<R: HookResult>(mut self, hook: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.hooks.on_master_death = Some(Arc::new(move || hook().into_result()));
        self
    }

    /// Runs in the master, once for each child, right after its start; takes the child's pid. An
    /// error stops the fleet.
    pub fn on_child_spawn<R: HookResult>(mut self, hook: impl Fn(u32) -> R + Send + Sync + 'static) -> Self {
        self.hooks.on_child_spawn = Some(Arc::new(move |pid| hook(pid).into_result()));
        self
    }

    /// Runs in the master, once, when every slot has become ready for the first time; takes the
    /// pids, in the order of the slots. An error stops the fleet.
    pub fn on_master_ready<R: HookResult>(
        mut self,
        hook: impl Fn(&[u32]) -> R + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_master_ready = Some(Arc::new(move |pids| hook(pids).into_result()));
        self
    }

    /// Runs in the master when a child replaces one that is gone, after
    /// [`on_child_spawn`](Self::on_child_spawn); takes the old pid and the new one.
    pub fn on_child_recover<R: HookResult>(
        mut self,
        hook: impl Fn(u32, u32) -> R + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_child_recover = Some(Arc::new(move |old, new| hook(old, new).into_result()));
        self
    }

    /// Starts a child, in the master, in place of `Command::spawn`.
    ///
    /// The command is complete: program, arguments, environment, and the handoff as its standard
    /// input. The producer may alter or wrap it, and returns the process it started. An error stops
    /// the fleet with [`Error::CommandProducer`], unless the system was short of something: then it
    /// is tried again.
    pub fn command_producer(
        mut self,
        producer: impl Fn(Command) -> io::Result<Child> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.command_producer = Some(Arc::new(producer));
        self
    }

    /// Where the runtime's own messages go. Default: the installed [`log`] logger; with none
    /// installed, standard error, from level info up.
    pub fn logger(mut self, logger: impl log::Log + 'static) -> Self {
        self.logger = Logger::new(logger);
        self
    }

    /// Listens on `addr` and serves until the fleet is stopped; the seed's `ListenAndServe`.
    ///
    /// Returns in the master only. In a child it calls the serve function, and then ends the process
    /// with the status that the function's result stands for.
    ///
    /// # Errors
    ///
    /// Every [`Error`]: from options that cannot be, through an address that cannot be bound, to a
    /// fleet that failed too often. A stop that was asked for is `Ok`.
    ///
    /// # Panics
    ///
    /// If a hook panics, with its panic, after every child has ended.
    pub fn listen_and_serve(self, addr: impl AsRef<str>) -> Result<(), Error> {
        self.addr(addr).run()
    }

    /// [`listen_and_serve`](Self::listen_and_serve) with [`cert_files`](Self::cert_files); the
    /// seed's `ListenAndServeTLS`, except that the certificate always comes first.
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

    /// [`listen_and_serve`](Self::listen_and_serve) with [`cert_pem`](Self::cert_pem); the seed's
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
        let is_child = child::is_child();
        let code = self.run_to_end()?;
        if is_child {
            end_process(code);
        }
        Ok(())
    }

    /// Runs this process's part; in a child, the result is the status to end with.
    pub(crate) fn run_to_end(mut self) -> Result<ExitCode, Error> {
        child::adopt_early()?;
        if child::role() == Role::Master {
            master::run(self.plan()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if child::is_trial() {
            self.plan()?;
        }
        Ok(child::run(self.serve, self.serving, self.hooks, &self.logger))
    }

    fn read<T>(&mut self, option: &'static str, value: impl OptionValue<T>) -> Option<T> {
        match value.into_value() {
            Ok(value) => Some(value),
            Err((value, expected)) => {
                self.problem.get_or_insert_with(|| bad(option, value, expected));
                None
            }
        }
    }
}

/// Ends this process with a status that std lets one make, but not read.
fn end_process(code: ExitCode) -> ! {
    let status = (0..=u8::MAX).find(|status| ExitCode::from(*status) == code);
    std::process::exit(i32::from(status.unwrap_or(1)))
}
