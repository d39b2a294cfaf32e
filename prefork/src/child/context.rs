//! What a serve function may ask for beside its listener.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::latch::Latch;
use super::watchdog::{Busy, Limits, Watchdog};
use crate::protocol::{Handshake, ToMaster};
use crate::sys::MasterSender;
use crate::tls::PreparedTls;

/// Where this child stands in its fleet. Cheap to clone; ask for it as an argument of the serve
/// function.
///
/// ```no_run
/// # use std::net::TcpListener;
/// #[prefork::main]
/// fn serve(ln: TcpListener, child: prefork::ChildContext) -> std::io::Result<()> {
///     println!("child {} of {}", child.slot(), child.fleet_size());
///     # let _ = ln;
///     Ok(())
/// }
/// # fn example() { main(); }
/// ```
#[derive(Debug, Clone)]
pub struct ChildContext {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    handshake: Handshake,
    stop: Latch,
    cooperates: AtomicBool,
    stop_announced: AtomicBool,
    announced: AtomicBool,
    voice: MasterSender,
    watchdog: Arc<Watchdog>,
    #[cfg_attr(not(feature = "rustls"), expect(dead_code, reason = "there is nothing in it"))]
    tls: PreparedTls,
}

impl ChildContext {
    pub(super) fn new(handshake: Handshake, voice: MasterSender, limits: Limits, tls: PreparedTls) -> Self {
        let shared = Shared {
            handshake,
            stop: Latch::new(),
            cooperates: AtomicBool::new(false),
            stop_announced: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            voice,
            watchdog: Arc::new(Watchdog::new(limits)),
            tls,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The numbered place that this child fills, from 0. Its successor will have the same.
    pub fn slot(&self) -> usize {
        self.shared.handshake.slot
    }

    /// How many slots the fleet had when this child was started.
    pub fn fleet_size(&self) -> usize {
        self.shared.handshake.fleet
    }

    /// How often the fleet had been reloaded when this child was started.
    pub fn generation(&self) -> u32 {
        self.shared.handshake.generation
    }

    /// The master's process id.
    pub fn master_pid(&self) -> u32 {
        self.shared.handshake.master
    }

    /// Tells the master that this child is ready, where the option `ready = "manual"` leaves that to
    /// the server. Only the first call counts.
    pub fn ready(&self) {
        if !self.shared.announced.swap(true, Ordering::SeqCst) {
            // A master that is gone is the watching thread's business.
            let _ = self.say(ToMaster::Ready);
        }
    }

    /// Asks the master to replace this child, new before old: the child serves on until its successor is
    /// ready, and then drains. Only a child that is ready can ask; asking twice is asking once.
    ///
    /// With it, a limit of requests per child is three lines:
    ///
    /// ```
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// # fn answered(child: &prefork::ChildContext) {
    /// const MAX_REQUESTS: u64 = 10_000;
    /// static REQUESTS: AtomicU64 = AtomicU64::new(0);
    /// if REQUESTS.fetch_add(1, Ordering::Relaxed) + 1 == MAX_REQUESTS { child.retire() }
    /// # }
    /// ```
    pub fn retire(&self) {
        // A child whose master is gone ends anyway.
        let _ = self.say(ToMaster::Recycle);
    }

    /// Whether the fleet is stopping, or is about to (option `stop_delay`): what a health check for a
    /// load balancer answers by. The server goes on serving until [`Shutdown`] is requested.
    pub fn is_stopping(&self) -> bool {
        self.shared.stop_announced.load(Ordering::SeqCst) || self.shared.stop.is_set()
    }

    pub(super) fn is_announced(&self) -> bool {
        self.shared.announced.load(Ordering::SeqCst)
    }

    pub(super) fn announce_stop(&self) {
        self.shared.stop_announced.store(true, Ordering::SeqCst);
    }

    pub(super) fn say(&self, word: ToMaster) -> io::Result<()> {
        self.shared.voice.send(word.to_line())
    }

    /// The stop signal. Whoever takes it promises to return from the serve function after it.
    pub fn shutdown(&self) -> Shutdown {
        self.shared.cooperates.store(true, Ordering::SeqCst);
        Shutdown { latch: self.shared.stop.clone() }
    }

    /// What to speak TLS by, if the options name a certificate. A serve function that cannot do without
    /// takes an `Arc<rustls::ServerConfig>` as an argument.
    #[cfg(feature = "rustls")]
    pub fn tls_config(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.shared.tls.config()
    }

    /// Notes that work is under way until the result is dropped. With the option `hang_timeout`, work
    /// that takes longer than that ends this child, with a report of where its threads are.
    ///
    /// For servers without a runtime of ours, around the handling of a request; an `async` serve
    /// function is watched without it.
    pub fn busy(&self) -> Busy {
        self.shared.watchdog.begin_work()
    }

    /// A span of `tracing` that says which child this is: `child{slot=3 generation=0 pid=4711}`.
    ///
    /// The runtime has entered it where it can: in the thread that calls the serve function, and in
    /// every thread of a tokio runtime. A thread that you start enters it with one line,
    /// `let _child = child.span().entered();`. It is of level error, so that no filter of levels takes it
    /// away, and of the target `prefork`. Without a subscriber it is none: a span would become a record of
    /// `log` where some other crate has asked `tracing` for that.
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    pub fn span(&self) -> tracing::Span {
        if !tracing::dispatcher::has_been_set() {
            return tracing::Span::none();
        }
        let Handshake { slot, generation, .. } = self.shared.handshake;
        tracing::error_span!(target: "prefork", "child", slot, generation, pid = std::process::id())
    }

    pub(crate) fn watchdog(&self) -> &Arc<Watchdog> {
        &self.shared.watchdog
    }

    /// How long this child may take to stop.
    pub(super) fn grace(&self) -> Duration {
        self.shared.handshake.grace
    }

    pub(super) fn stop(&self) -> &Latch {
        &self.shared.stop
    }

    /// Whether the server took a [`Shutdown`], so that it ends by itself.
    pub(super) fn cooperates(&self) -> bool {
        self.shared.cooperates.load(Ordering::SeqCst)
    }
}

/// Tells a serve function that its child is to stop.
///
/// A child drains without it: no new connection comes in, and the process ends when the last one is
/// closed. A server that takes it can do more, such as closing idle keep-alive connections, and is
/// expected to return from the serve function; it has the grace period to do so.
///
/// It is a future as well, and can be cloned.
///
/// ```no_run
/// # use std::net::TcpListener;
/// #[prefork::main]
/// fn serve(ln: TcpListener, shutdown: prefork::Shutdown) -> std::io::Result<()> {
///     for stream in ln.incoming() {
///         # drop(stream);
///         // … serve it, then look:
///         if shutdown.is_requested() {
///             break;
///         }
///     }
///     Ok(())
/// }
/// # fn example() { main(); }
/// ```
///
/// On Linux a thread that waits in `accept` is woken by a connection from nobody, so that the loop
/// above gets to look; on other systems ask [`wait`](Self::wait) in a thread of its own.
#[derive(Debug, Clone)]
#[must_use = "a serve function that takes `Shutdown` is waited for until it returns"]
pub struct Shutdown {
    latch: Latch,
}

impl Shutdown {
    /// Whether the child is to stop.
    pub fn is_requested(&self) -> bool {
        self.latch.is_set()
    }

    /// Blocks this thread until the child is to stop.
    pub fn wait(&self) {
        self.latch.wait();
    }
}

impl Future for Shutdown {
    type Output = ();

    /// Ready when the child is to stop.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.latch).poll(context)
    }
}

/// What can be an argument of a serve function, after the listener and the certificate.
///
/// Implemented by [`Shutdown`] and [`ChildContext`]; with the feature `rustls` by
/// `Arc<rustls::ServerConfig>`, and with `tokio-rustls` by `tokio_rustls::TlsAcceptor`. Implement it for a type of your own to have it
/// made in each child, before the serve function is called.
///
/// ```no_run
/// struct Shard(usize);
///
/// impl prefork::FromChild for Shard {
///     fn from_child(child: &prefork::ChildContext) -> Self {
///         Self(child.slot())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a serve function cannot take `{Self}` here",
    label = "neither `prefork::Shutdown` nor `prefork::ChildContext`",
    note = "a serve function takes its listener first, then the certificate and the key if the options \
            name them, then `prefork::Shutdown`, `prefork::ChildContext`, with the feature `rustls` an \
            `Arc<prefork::rustls::ServerConfig>`, and whatever else implements `prefork::FromChild`, in any \
            order"
)]
pub trait FromChild: Sized {
    /// Whether it cannot be made without a certificate: then a fleet that has none is refused, in the
    /// master, before a child is started.
    const NEEDS_TLS: bool = false;

    /// Makes the argument, in the child.
    fn from_child(child: &ChildContext) -> Self;
}

impl FromChild for ChildContext {
    fn from_child(child: &ChildContext) -> Self {
        child.clone()
    }
}

impl FromChild for Shutdown {
    fn from_child(child: &ChildContext) -> Self {
        child.shutdown()
    }
}

/// The options' certificate and key, checked; ALPN for `h2` and `http/1.1` unless the option `alpn`
/// says otherwise; TLS 1.2 and 1.3; session tickets that every child of the fleet can open; and with the
/// option `client_ca` a check of the clients' certificates.
#[cfg(feature = "rustls")]
impl FromChild for Arc<rustls::ServerConfig> {
    const NEEDS_TLS: bool = true;

    /// Ends the process, with a message, if the options name no certificate: the master refuses that
    /// fleet, so this is a type of your own that asks for a configuration and does not say so in
    /// `NEEDS_TLS`.
    fn from_child(child: &ChildContext) -> Self {
        child.tls_config().unwrap_or_else(|| {
            crate::logging::to_stderr(format_args!(
                "prefork: child {} cannot serve: it needs a certificate, and the options name none",
                child.slot()
            ));
            std::process::exit(1)
        })
    }
}

/// Of the same configuration.
#[cfg(feature = "tokio-rustls")]
impl FromChild for tokio_rustls::TlsAcceptor {
    const NEEDS_TLS: bool = true;

    fn from_child(child: &ChildContext) -> Self {
        Arc::<rustls::ServerConfig>::from_child(child).into()
    }
}
