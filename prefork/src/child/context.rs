//! What user code sees of its child: where it stands in the fleet, and when it has to stop.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::latch::Latch;
use super::leadership::{LeaderState, Leadership};
use super::watchdog::{Busy, Limits, Watchdog};
use crate::protocol::{Handshake, ToMaster};
use crate::sys::MasterSender;
use crate::tls::PreparedTls;

/// This child and its place in the fleet. Cheap to clone; an argument of the serve function.
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
    shared: Arc<SharedContext>,
}

#[derive(Debug)]
struct SharedContext {
    handshake: Handshake,
    /// Set when the child has to stop.
    stop: Latch,
    /// Whether the server took a [`Shutdown`].
    cooperates: AtomicBool,
    /// Whether the master has announced the stop.
    stop_announced: AtomicBool,
    /// Whether the master was told that this child is ready.
    ready: AtomicBool,
    /// Whether the server has asked for a replacement.
    retires: AtomicBool,
    sender: Arc<MasterSender>,
    leader: Arc<LeaderState>,
    watchdog: Arc<Watchdog>,
    #[cfg_attr(not(feature = "rustls"), expect(dead_code, reason = "it is empty"))]
    tls: PreparedTls,
}

impl ChildContext {
    pub(super) fn new(handshake: Handshake, sender: MasterSender, limits: Limits, tls: PreparedTls) -> Self {
        let sender = Arc::new(sender);
        let leader = LeaderState::new({
            let sender = Arc::clone(&sender);
            // The link thread notices a dead master.
            Box::new(move |message: ToMaster| drop(sender.send(message.to_line())))
        });
        let shared = SharedContext {
            handshake,
            stop: Latch::new(),
            cooperates: AtomicBool::new(false),
            stop_announced: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            retires: AtomicBool::new(false),
            sender,
            leader,
            watchdog: Arc::new(Watchdog::new(limits)),
            tls,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The slot that this child fills, from 0. Its successor has the same.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.shared.handshake.slot
    }

    /// How many slots the fleet had when this child was started.
    #[must_use]
    pub fn fleet_size(&self) -> usize {
        self.shared.handshake.fleet
    }

    /// How often the fleet had been reloaded when this child was started.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.shared.handshake.generation
    }

    /// The master's process id.
    #[must_use]
    pub fn master_pid(&self) -> u32 {
        self.shared.handshake.master
    }

    /// Tells the master that this child is ready, where the option `ready = "manual"` leaves that to
    /// the server. Only the first call counts.
    pub fn ready(&self) {
        if !self.shared.ready.swap(true, Ordering::SeqCst) {
            // The link thread notices a dead master.
            let _ = self.send(ToMaster::Ready);
            if self.shared.retires.load(Ordering::SeqCst) {
                let _ = self.send(ToMaster::Recycle);
            }
        }
    }

    /// Asks the master to replace this child: a new child is started in this slot, and when it is
    /// ready, this one is asked to stop and finishes the connections that it has accepted. Until then
    /// it serves on. Only the first call counts; it is no failure, and no connection is lost.
    ///
    /// A child that is not ready yet is replaced once it is. If the new child does not become ready,
    /// this one stays, and the master tries again after a minute.
    ///
    /// With it, a limit on the requests that one child serves is three lines:
    ///
    /// ```no_run
    /// use std::net::TcpListener;
    ///
    /// #[prefork::main]
    /// fn serve(ln: TcpListener, child: prefork::ChildContext) -> std::io::Result<()> {
    ///     let mut requests = 0;
    ///     for stream in ln.incoming() {
    ///         # drop(stream);
    ///         // … serve it, then count:
    ///         requests += 1;
    ///         if requests == 10_000 {
    ///             child.retire();
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # fn example() { main(); }
    /// ```
    pub fn retire(&self) {
        if !self.shared.retires.swap(true, Ordering::SeqCst) && self.is_ready() {
            let _ = self.send(ToMaster::Recycle);
        }
    }

    /// Whether the fleet is stopping, or is about to (option `stop_delay`): the basis of a health check
    /// for a load balancer. The server goes on serving until [`Shutdown`] is requested.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.stop_announced.load(Ordering::SeqCst) || self.shared.stop.is_set()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::SeqCst)
    }

    pub(super) fn announce_stop(&self) {
        self.shared.stop_announced.store(true, Ordering::SeqCst);
    }

    pub(super) fn send(&self, message: ToMaster) -> io::Result<()> {
        self.shared.sender.send(message.to_line())
    }

    /// The stop signal. A serve function that takes it has to return once a stop is requested.
    pub fn shutdown(&self) -> Shutdown {
        self.shared.cooperates.store(true, Ordering::SeqCst);
        Shutdown { latch: self.shared.stop.clone() }
    }

    /// The leadership of the fleet: one child at a time is the leader, for work that is done once.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership::new(Arc::clone(&self.shared.leader))
    }

    pub(super) fn leader(&self) -> &Arc<LeaderState> {
        &self.shared.leader
    }

    /// The TLS configuration, if the options name a certificate. A serve function that needs one takes
    /// an `Arc<rustls::ServerConfig>` as an argument.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    #[must_use]
    pub fn tls_config(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.shared.tls.config()
    }

    /// Marks work as under way until the result is dropped. With the option `hang_timeout`, work that
    /// takes longer ends this child, after a report of where its threads are.
    ///
    /// Servers without prefork's runtime call it around the handling of a request; an `async` serve
    /// function is watched without it.
    pub fn busy(&self) -> Busy {
        self.shared.watchdog.begin_work()
    }

    /// A span of `tracing` that says which child this is: `child{slot=3 generation=0 pid=4711}`.
    ///
    /// It is entered in the thread that calls the serve function, and in every thread of prefork's tokio
    /// runtime. A thread that you start enters it with one line, `let _child = child.span().entered();`.
    /// Its level is error, so that filters by level keep it; its target is `prefork`. Without a subscriber
    /// it is [`none`](tracing::Span::none), because `tracing` may turn spans into `log` records there.
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        if !tracing::dispatcher::has_been_set() {
            return tracing::Span::none();
        }
        let Handshake { slot, generation, .. } = self.shared.handshake;
        tracing::error_span!(target: "prefork", parent: None, "child", slot, generation, pid = std::process::id())
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

/// The stop signal of a child: a serve function that takes it learns when to stop.
///
/// A child drains without it: it accepts no new connection, and ends when the last one is closed. A
/// server that takes it can do more, such as closing idle keep-alive connections. It then has to return
/// from the serve function within the grace period.
///
/// It is a future, and cheap to clone.
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
/// On Linux a thread that waits in `accept` is woken by an internal connection, so that the loop above
/// looks at the signal. On other systems call [`wait`](Self::wait) in a thread of its own.
#[derive(Debug, Clone)]
#[must_use = "the process waits for a serve function that takes `Shutdown` to return"]
pub struct Shutdown {
    latch: Latch,
}

impl Shutdown {
    /// Whether the child has to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.latch.is_set()
    }

    /// Blocks this thread until the child has to stop.
    pub fn wait(&self) {
        self.latch.wait();
    }
}

impl Future for Shutdown {
    type Output = ();

    /// Ready once the child has to stop.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.latch).poll(context)
    }
}
