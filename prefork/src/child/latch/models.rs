//! No waiter misses the event, whenever it begins to wait.

use std::task::Wake;

use loom::sync::Notify;

use super::*;
use crate::sync::{model, thread};

struct Notified(Notify);

impl Wake for Notified {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Waits as a runtime does: polls again only when it was woken.
fn block_on(task: &mut Latch) {
    let notified = Arc::new(Notified(Notify::new()));
    let waker = Waker::from(Arc::clone(&notified));
    while Pin::new(&mut *task).poll(&mut Context::from_waker(&waker)).is_pending() {
        notified.0.wait();
    }
}

#[test]
fn threads_and_tasks_that_wait_are_woken() {
    model::check("latch", || {
        let latch = Latch::new();
        let (blocked, limited, mut task) = (latch.clone(), latch.clone(), latch.clone());
        let threads = [
            thread::spawn(move || blocked.wait()),
            thread::spawn(move || assert!(limited.wait_timeout(Duration::from_secs(1)))),
            thread::spawn(move || block_on(&mut task)),
        ];
        latch.set();
        assert!(latch.is_set());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn task_that_is_dropped_disturbs_no_other() {
    model::check("latch and a task that is dropped", || {
        let latch = Latch::new();
        let (mut dropped, mut task) = (latch.clone(), latch.clone());
        let poll_once = move || {
            let _ = Pin::new(&mut dropped).poll(&mut Context::from_waker(Waker::noop()));
        };
        let threads = [thread::spawn(poll_once), thread::spawn(move || block_on(&mut task))];
        latch.set();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(latch.shared.lock().tasks.is_empty());
    });
}
