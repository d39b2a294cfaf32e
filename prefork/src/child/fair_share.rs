//! [`FairShare`].

#[cfg(feature = "tokio")]
mod patience;

#[cfg(feature = "tokio")]
use self::patience::{Patience, in_turn};
use crate::shared::Gauge;

/// Lets the children with fewer open connections accept first, from a socket that all share.
///
/// Children with an event loop race for the connections of a shared socket, and one of them may win most. Where
/// connections last, that one then has most of the work. With this type a child that holds more connections than the
/// mean of the children leaves a new one to the others for a millisecond. What none of them has accepted by then it
/// accepts. If others are stopped or busy, and the queue is not empty after several such waits, it waits ever less often.
///
/// The serve function counts its open connections in a [`Gauge`], whose values the children share:
///
/// ```
/// # #[cfg(feature = "tokio")] {
/// use prefork::FairShare;
/// use prefork::shared::Gauge;
/// use tokio::net::TcpListener;
///
/// static OPEN: Gauge = Gauge::new("app_open_connections", "Open connections");
/// static SHARE: FairShare = FairShare::new(&OPEN);
///
/// async fn serve(listener: TcpListener) -> std::io::Result<()> {
///     loop {
///         let (stream, _) = SHARE.accept(listener.accept()).await?;
///         let held = OPEN.hold();
///         tokio::spawn(async move {
///             // … serves the connection.
///             drop((stream, held));
///         });
///     }
/// }
/// # let _ = prefork::Prefork::new(serve);
/// # }
/// ```
///
/// The mean is that of the children which use the gauge and accept connections at the moment: one that is being
/// stopped or replaced and finishes what it has, one that has ended, and one that has not used the gauge yet are left
/// out, also while the number of children changes, in a reload and in a canary. In a process that is no child of a
/// fleet, and in a child that shares no values, no share is exceeded.
///
/// It costs a look at the gauge of every child for each accepted connection, which is for fleets of some hundred
/// children at most, and a timer for each new connection in every child that waits; nothing for what is sent on a
/// connection, and nothing while none comes. It is of no use for a loop that blocks in `accept`, to which the system
/// gives connections in turn, nor with `reuseport`, where no other child can accept.
#[derive(Debug)]
pub struct FairShare {
    open: &'static Gauge,
    #[cfg(feature = "tokio")]
    patience: Patience,
}

impl FairShare {
    /// For children that count their open connections in `open`.
    #[must_use]
    pub const fn new(open: &'static Gauge) -> Self {
        Self {
            open,
            #[cfg(feature = "tokio")]
            patience: Patience::new(),
        }
    }

    /// Whether this child has more connections than the mean of the children, for an event loop of one's own: as long
    /// as it has, such a loop lets a millisecond pass between the event of the listener and `accept`.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        // First, because the first use of the gauge tells the others that this child is one of them.
        let own = self.open.own();
        self.open.accepting().is_some_and(|all| own.saturating_mul(all.children) > all.held)
    }

    /// Waits for `accept`, which is polled a millisecond late while this child has more than its share. To drop the
    /// result is as safe as to drop `accept`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn accept<F: Future>(&self, accept: F) -> F::Output {
        in_turn(|| self.is_exceeded(), &self.patience, accept).await
    }
}
