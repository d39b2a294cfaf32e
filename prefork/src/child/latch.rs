//! An event that happens once, and that threads and tasks can wait for.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// See the [module](self). Clones share the event; each is a waiter of its own.
#[derive(Debug)]
pub(crate) struct Latch {
    shared: Arc<SharedLatch>,
    waiter: u64,
}

#[derive(Debug, Default)]
struct SharedLatch {
    state: Mutex<LatchState>,
    threads: Condvar,
}

#[derive(Debug, Default)]
struct LatchState {
    set: bool,
    next_waiter: u64,
    tasks: HashMap<u64, Waker>,
}

impl SharedLatch {
    /// Nothing can panic under the lock, so it is never poisoned.
    fn lock(&self) -> MutexGuard<'_, LatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default(), waiter: 0 }
    }

    pub(crate) fn set(&self) {
        let tasks = {
            let mut state = self.shared.lock();
            state.set = true;
            std::mem::take(&mut state.tasks)
        };
        self.shared.threads.notify_all();
        tasks.into_values().for_each(Waker::wake);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.shared.lock().set
    }

    /// Blocks this thread until the latch is set.
    pub(crate) fn wait(&self) {
        let mut state = self.shared.lock();
        while !state.set {
            state = self.shared.threads.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Blocks this thread until the latch is set, or for this time. Returns whether it is set.
    pub(crate) fn wait_timeout(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.threads.wait_timeout_while(state, timeout, |state| !state.set);
        waited.unwrap_or_else(PoisonError::into_inner).0.set
    }
}

impl Clone for Latch {
    fn clone(&self) -> Self {
        let mut state = self.shared.lock();
        state.next_waiter += 1;
        Self { shared: Arc::clone(&self.shared), waiter: state.next_waiter }
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.shared.lock().tasks.remove(&self.waiter);
    }
}

impl Future for Latch {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if state.set {
            return Poll::Ready(());
        }
        state.tasks.insert(self.waiter, context.waker().clone());
        Poll::Pending
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_threads_and_tasks_once_each() {
        let latch = Latch::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut first = latch.clone();
        let mut second = latch.clone();
        let mut dropped = latch.clone();
        for _ in 0..2 {
            assert!(Pin::new(&mut first).poll(&mut context).is_pending());
            assert!(Pin::new(&mut second).poll(&mut context).is_pending());
            assert!(Pin::new(&mut dropped).poll(&mut context).is_pending());
        }
        drop(dropped);
        let waiting = latch.clone();
        let thread = thread::spawn(move || waiting.wait());
        latch.set();
        thread.join().unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert!(Pin::new(&mut first).poll(&mut context).is_ready());
        assert!(latch.is_set());
    }
}
