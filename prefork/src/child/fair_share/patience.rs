//! How long a child that has more than its share waits for the others.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a child that has more than its share leaves a connection to the others.
const TURN: Duration = Duration::from_millis(if cfg!(test) { TURN_IN_TESTS } else { 1 });

/// A test that is not run for a moment must not find its wait over.
const TURN_IN_TESTS: u64 = 300;

/// How many waits in sequence are in vain before connections are accepted without one: others may be busy with what
/// they have just accepted.
const WAITS: u32 = 8;

/// How many connections are accepted at most before the next wait.
const MOST: u32 = 64;

/// Polls `accept`, late where it is another child's turn.
pub(super) async fn in_turn<F: Future>(
    is_exceeded: impl Fn() -> bool,
    patience: &Patience,
    accept: F,
) -> F::Output {
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
#[derive(Debug)]
pub(super) struct Patience {
    in_vain: AtomicU32,
    /// How many connections are accepted before the next wait.
    left: AtomicU32,
    /// The end of the present wait. It outlives a future that is dropped meanwhile, as `select!` does in a loop:
    /// else the wait would begin again each time, and never end. If it is over when the next future would wait, that
    /// one accepts at once: at most one connection for each wait that was dropped, after this child was away from its
    /// listener for longer than a wait. To begin anew then might be to wait for ever, in a loop that is always busy.
    end: Mutex<Option<Instant>>,
}

// Threads that accept at once may take one connection more or less without a wait.
impl Patience {
    pub(super) const fn new() -> Self {
        Self { in_vain: AtomicU32::new(0), left: AtomicU32::new(0), end: Mutex::new(None) }
    }

    /// Whether to wait before the next connection.
    fn is_due(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// The end of the wait that is under way, or of one that begins now.
    fn end_of_wait(&self) -> Instant {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end.get_or_insert_with(|| Instant::now() + TURN)
    }

    fn note_accepted(&self) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
    }

    fn note_waited(&self, in_vain: bool) {
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
    use std::cell::Cell;
    use std::task::{Context, Waker};

    use tokio::runtime::Runtime;

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

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// The number of polls that `accept` has had after the first one of `in_turn`, and at the end.
    fn polls(is_exceeded: bool, patience: &Patience) -> [u32; 2] {
        let polls = Cell::new(0);
        let accept = poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::Ready(())
        });
        runtime().block_on(async {
            let mut turn = pin!(in_turn(|| is_exceeded, patience, accept));
            let is_ready = turn.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            let first = polls.get();
            if !is_ready {
                turn.await;
            }
            [first, polls.get()]
        })
    }

    /// Drops a future that waits; returns the end of its wait.
    fn drop_while_it_waits(runtime: &Runtime, patience: &Patience) -> Instant {
        runtime.block_on(async {
            let turn = pin!(in_turn(|| true, patience, std::future::ready(())));
            assert!(turn.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        });
        patience.end.lock().unwrap().unwrap()
    }

    #[test]
    fn wait_goes_on_in_the_next_future_when_one_is_dropped() {
        let (runtime, patience) = (runtime(), Patience::new());
        let end = drop_while_it_waits(&runtime, &patience);
        assert_eq!(drop_while_it_waits(&runtime, &patience), end);
        runtime.block_on(in_turn(|| true, &patience, std::future::ready(())));
        assert!(end <= Instant::now());
        assert_eq!(*patience.end.lock().unwrap(), None);
    }

    #[test]
    fn wait_that_is_over_before_the_next_future_saves_that_one_a_wait_and_no_other() {
        let (runtime, patience) = (runtime(), Patience::new());
        let end = drop_while_it_waits(&runtime, &patience);
        runtime.block_on(async { sleep_until(end).await });
        assert_eq!(polls(true, &patience), [1, 1]);
        assert_eq!(polls(true, &patience), [0, 1]);
        // Nor if no connection is there: what comes then is left to the others.
        let end = drop_while_it_waits(&runtime, &patience);
        runtime.block_on(async {
            sleep_until(end).await;
            let turn = pin!(in_turn(|| true, &patience, std::future::pending::<()>()));
            assert!(turn.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        });
        assert_eq!(*patience.end.lock().unwrap(), None);
        assert_eq!(polls(true, &patience), [0, 1]);
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
