//! [`FairShare`].

#[cfg(any(feature = "tokio", test))]
use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(feature = "tokio")]
use {
    std::future::poll_fn,
    std::pin::pin,
    std::sync::{Mutex, PoisonError},
    std::task::{Poll, ready},
    std::time::Duration,
    tokio::time::{Instant, sleep_until},
};

use super::ChildContext;
use crate::shared::Gauge;

/// How long a child that has more than its share leaves a connection to the others.
#[cfg(feature = "tokio")]
const TURN: Duration = Duration::from_millis(if cfg!(test) { TURN_IN_TESTS } else { 1 });

/// A test that is not run for a moment must not find its wait over.
#[cfg(feature = "tokio")]
const TURN_IN_TESTS: u64 = 300;

/// How many waits in sequence are in vain before connections are accepted without one: others may be busy with what
/// they have just accepted.
#[cfg(any(feature = "tokio", test))]
const WAITS: u32 = 8;

/// How many connections are accepted at most before the next wait.
#[cfg(any(feature = "tokio", test))]
const MOST: u32 = 64;

/// Lets the children with fewer open connections accept first, from a socket that all share.
///
/// Children with an event loop race for the connections of a shared socket, and one of them may win most. Where
/// connections last, that one then has most of the work. With this type a child that holds more connections than the
/// mean of the fleet leaves a new one to the others for a millisecond. What none of them has accepted by then it
/// accepts. If others are stopped or busy, and the queue is not empty after several such waits, it waits ever less often.
///
/// The serve function counts its open connections in a [`Gauge`], whose values the children share:
///
/// ```
/// # #[cfg(feature = "tokio")] {
/// use prefork::shared::Gauge;
/// use prefork::{ChildContext, FairShare};
/// use tokio::net::TcpListener;
///
/// static OPEN: Gauge = Gauge::new("app_open_connections", "Open connections");
///
/// async fn serve(listener: TcpListener, child: ChildContext) -> std::io::Result<()> {
///     let share = FairShare::new(&OPEN, &child);
///     loop {
///         let (stream, _) = share.accept(listener.accept()).await?;
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
/// It costs a look at the gauge of every child for each accepted connection, and a timer for each new connection in
/// every child that waits; nothing for what is sent on a connection, and nothing while none comes. It is of no use
/// for a loop that blocks in `accept`, to which the system gives connections in turn, nor with `reuseport`, where no
/// other child can accept.
#[derive(Debug)]
pub struct FairShare {
    open: &'static Gauge,
    children: i64,
    #[cfg(feature = "tokio")]
    patience: Patience,
}

impl FairShare {
    /// For a child that counts its open connections in `open`.
    #[must_use]
    pub fn new(open: &'static Gauge, child: &ChildContext) -> Self {
        Self {
            open,
            children: i64::try_from(child.fleet_size()).unwrap_or(i64::MAX),
            #[cfg(feature = "tokio")]
            patience: Patience::new(),
        }
    }

    /// Whether this child has more connections than the mean of the children, for an event loop of one's own: as long
    /// as it has, such a loop lets a millisecond pass between the event of the listener and `accept`.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.open.own().saturating_mul(self.children) > self.open.total()
    }

    /// Waits for `accept`, which is polled a millisecond late while this child has more than its share. To drop the
    /// result is as safe as to drop `accept`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn accept<F: Future>(&self, accept: F) -> F::Output {
        in_turn(|| self.is_exceeded(), &self.patience, accept).await
    }
}

#[cfg(feature = "tokio")]
async fn in_turn<F: Future>(is_exceeded: impl Fn() -> bool, patience: &Patience, accept: F) -> F::Output {
    let mut accept = pin!(accept);
    let mut delay = None;
    poll_fn(|context| {
        // Each event of the listener is a poll. The others have seen the same event.
        if delay.is_none() && patience.is_due() && is_exceeded() {
            delay = Some(Box::pin(sleep_until(patience.end_of_wait())));
        }
        let Some(turn) = &mut delay else {
            let polled = accept.as_mut().poll(context);
            if polled.is_ready() {
                patience.note_accepted();
            }
            return polled;
        };
        ready!(turn.as_mut().poll(context));
        delay = None;
        let polled: Poll<_> = accept.as_mut().poll(context);
        patience.note_waited(polled.is_ready());
        polled
    })
    .await
}

/// Ends the waits for others that do not accept. While each wait is in vain, because the connection is still there
/// after it, ever more connections are accepted without one.
#[cfg(any(feature = "tokio", test))]
#[derive(Debug)]
struct Patience {
    in_vain: AtomicU32,
    /// How many connections are accepted before the next wait.
    left: AtomicU32,
    /// The end of the present wait. It outlives a future that is dropped meanwhile, as `select!` does in a loop:
    /// else the wait would begin again each time, and never end.
    #[cfg(feature = "tokio")]
    end: Mutex<Option<Instant>>,
}

// Threads that accept at once may take one connection more or less without a wait.
#[cfg(any(feature = "tokio", test))]
impl Patience {
    const fn new() -> Self {
        Self {
            in_vain: AtomicU32::new(0),
            left: AtomicU32::new(0),
            #[cfg(feature = "tokio")]
            end: Mutex::new(None),
        }
    }

    /// Whether to wait before the next connection.
    fn is_due(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// The end of the wait that is under way, or of one that begins now.
    #[cfg(feature = "tokio")]
    fn end_of_wait(&self) -> Instant {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end.get_or_insert_with(|| Instant::now() + TURN)
    }

    fn note_accepted(&self) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
    }

    fn note_waited(&self, in_vain: bool) {
        #[cfg(feature = "tokio")]
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        let count = if in_vain { self.in_vain.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
        self.in_vain.store(count, Ordering::Relaxed);
        let left =
            count.checked_sub(WAITS).map_or(0, |more| 1_u32.checked_shl(more).unwrap_or(MOST).min(MOST));
        self.left.store(left, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many connections are accepted without a wait before the next one.
    fn without_a_wait(patience: &Patience) -> usize {
        std::iter::from_fn(|| (!patience.is_due()).then(|| patience.note_accepted())).count()
    }

    #[test]
    fn waits_become_rarer_while_they_are_in_vain_and_return_once_others_accept() {
        let patience = Patience::new();
        for _ in 0..2 {
            assert_eq!(without_a_wait(&patience), 0);
            for accepted in [0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 64] {
                patience.note_waited(true);
                assert_eq!(without_a_wait(&patience), accepted);
            }
            patience.note_waited(false);
        }
    }

    #[test]
    fn patience_is_kept_within_its_limits() {
        let patience = Patience::new();
        for _ in 0..100 {
            patience.note_waited(true);
        }
        assert_eq!(without_a_wait(&patience), 64);
    }

    #[cfg(feature = "tokio")]
    mod on_tokio {
        use std::cell::Cell;
        use std::task::{Context, Waker};

        use super::*;

        /// The number of polls that `accept` has had after the first one of `in_turn`, and at the end.
        fn polls(is_exceeded: bool, patience: &Patience) -> [u32; 2] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let polls = Cell::new(0);
            let accept = poll_fn(|_| {
                polls.set(polls.get() + 1);
                Poll::Ready(())
            });
            runtime.block_on(async {
                let mut turn = pin!(in_turn(|| is_exceeded, patience, accept));
                let is_ready = turn.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                let first = polls.get();
                if !is_ready {
                    turn.await;
                }
                [first, polls.get()]
            })
        }

        #[test]
        fn wait_goes_on_in_the_next_future_when_one_is_dropped() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let patience = Patience::new();
            let end = || *patience.end.lock().unwrap();
            runtime.block_on(async {
                let turn = pin!(in_turn(|| true, &patience, std::future::ready(())));
                assert!(turn.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            });
            let first = end();
            assert_eq!(Some(patience.end_of_wait()), first);
            runtime.block_on(in_turn(|| true, &patience, std::future::ready(())));
            assert!(first.is_some_and(|first| first <= Instant::now()));
            assert_eq!(end(), None);
        }

        #[test]
        fn child_with_more_than_its_share_waits_before_it_accepts_and_others_do_not() {
            let patience = Patience::new();
            assert_eq!(polls(false, &patience), [1, 1]);
            assert_eq!(polls(true, &patience), [0, 1]);
            (2..WAITS).for_each(|_| patience.note_waited(true));
            assert_eq!(polls(true, &patience), [0, 1]);
            // Each time the connection was still there: the next one is accepted at once.
            assert_eq!(polls(true, &patience), [1, 1]);
            assert_eq!(polls(true, &patience), [0, 1]);
        }
    }
}
