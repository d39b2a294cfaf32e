//! The queue between the code that logs and the thread that writes.
//!
//! The code that logs never waits for the logger: a message is formatted, put into a bounded queue, and
//! written by a separate thread, which alone may block on a full pipe or in the user's logger. Order is
//! kept. Messages that do not fit are dropped and counted; a message takes their place:
//! `12 messages dropped`.
//!
//! The first message starts the thread. A process that exits or executes another program calls
//! [`flush`], which waits until the queue is empty, at most for [`FLUSH_LIMIT`].

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::PoisonError;
use std::time::Duration;

use log::Level;

use super::Message;
use crate::sync::atomic::{AtomicBool, Ordering};
#[cfg(all(test, loom))]
use crate::sync::model::spawn_thread;
use crate::sync::{Condvar, Instant, Mutex, MutexGuard};
#[cfg(not(all(test, loom)))]
use crate::sys::spawn_thread;

/// The most messages that wait: a quarter of a megabyte, at about 200 bytes each.
const CAPACITY: usize = 1024;

/// The longest time that an exiting process waits for its last messages.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_millis(500);

static QUEUE: Queue = Queue::new();

/// While it lives, no thread is started that writes: a process can give up privileges only while it has one
/// thread.
#[derive(Debug)]
pub(crate) struct HeldMessages;

impl HeldMessages {
    pub(crate) fn begin() -> Self {
        QUEUE.held.store(true, Ordering::SeqCst);
        Self
    }
}

impl Drop for HeldMessages {
    fn drop(&mut self) {
        QUEUE.end_hold();
    }
}

/// Forgets the messages that another process has held, of which this one is a copy, and where it has passed them on to.
/// From now on they are written.
pub(crate) fn start_anew() {
    super::tap::forget_relay();
    *QUEUE.lock() = State::new();
    QUEUE.held.store(false, Ordering::SeqCst);
}

/// Queues a message. Returns at once, whatever the logger does.
pub(super) fn push(message: Message) {
    super::tap::note(&message);
    QUEUE.push_and_write(message);
}

/// Writes the messages that are held, in this thread: for a process that is to have no other. Takes as long as the logger
/// does.
pub(crate) fn write_held() {
    QUEUE.write_without_writer();
}

/// Waits until every message that was queued is written, or until [`FLUSH_LIMIT`] has passed.
pub(crate) fn flush() {
    // The system may have refused the thread when the message was queued: try again.
    QUEUE.start_writer();
    QUEUE.wait_until_empty(Instant::now() + FLUSH_LIMIT);
}

/// As [`flush`], in a process that ends because it cannot start. If the system refuses it a thread, which may be why
/// it ends, this one writes, and nothing limits how long that takes: its master does.
pub(crate) fn flush_at_failed_start() {
    flush();
    QUEUE.write_without_writer();
}

/// The number of messages that this process has dropped.
pub(crate) fn dropped() -> u64 {
    QUEUE.lock().dropped_total
}

struct Queue {
    state: Mutex<State>,
    /// Signalled when a message was queued, and when the queue has become empty.
    changed: Condvar,
    /// Whether messages wait although the system has threads.
    held: AtomicBool,
}

struct State {
    waiting: VecDeque<Message>,
    /// The number of messages that were dropped since the last one that was queued, and the first of them.
    dropped: Option<(u64, Message)>,
    /// The number of messages that were dropped in the life of the process.
    dropped_total: u64,
    /// Whether a message has left the queue and is not written yet.
    writing: bool,
    has_writer: bool,
}

impl Queue {
    const fn new() -> Self {
        Self { state: Mutex::new(State::new()), changed: Condvar::new(), held: AtomicBool::new(false) }
    }

    /// No user code runs under the lock, so a poisoned state is consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: Message) {
        self.lock().push(message);
        self.changed.notify_all();
    }

    /// Queues a message, for which there is a writer unless messages are held.
    fn push_and_write(&'static self, message: Message) {
        self.push(message);
        if !self.held.load(Ordering::SeqCst) {
            self.start_writer();
        }
    }

    fn end_hold(&'static self) {
        self.held.store(false, Ordering::SeqCst);
        if !self.lock().is_empty() {
            self.start_writer();
        }
    }

    /// Waits for the next message.
    fn next(&self) -> Message {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if let Some(message) = state.take() {
                state.writing = true;
                return message;
            }
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_until_empty(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.has_writer && !state.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let (next, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
    }

    fn write_without_writer(&self) {
        let next = || {
            let mut state = self.lock();
            if state.has_writer { None } else { state.take() }
        };
        while let Some(message) = next() {
            write(&message);
        }
    }

    /// Starts the thread that writes, unless it runs. If the system refuses a thread, the messages wait
    /// for the next attempt.
    fn start_writer(&'static self) {
        let mut state = self.lock();
        if !state.has_writer {
            let write_all = || loop {
                write(&self.next());
            };
            state.has_writer = spawn_thread("prefork-log", write_all).is_ok();
        }
    }
}

impl State {
    const fn new() -> Self {
        Self { waiting: VecDeque::new(), dropped: None, dropped_total: 0, writing: false, has_writer: false }
    }

    fn push(&mut self, message: Message) {
        if self.waiting.len() >= CAPACITY {
            let (count, first) = self.dropped.take().unwrap_or((0, message));
            self.dropped = Some((count.saturating_add(1), first));
            self.dropped_total = self.dropped_total.saturating_add(1);
            return;
        }
        let dropped = self.take_dropped();
        self.waiting.extend(dropped);
        self.waiting.push_back(message);
    }

    fn take(&mut self) -> Option<Message> {
        self.waiting.pop_front().or_else(|| self.take_dropped())
    }

    /// The message in place of the dropped ones.
    fn take_dropped(&mut self) -> Option<Message> {
        let (count, first) = self.dropped.take()?;
        let noun = if count == 1 { "message" } else { "messages" };
        let event = first.logger.event("messages_dropped");
        Some(event.message(Level::Warn, &format_args!("{count} {noun} dropped")))
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }
}

/// Hands a message to its logger. A panic in there ends neither the thread nor the process.
fn write(message: &Message) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| message.write())) else { return };
    // Its drop may panic as well.
    std::mem::forget(payload);
    if !REPORTED.swap(true, Ordering::SeqCst) {
        super::write_to_stderr(
            Level::Error,
            &format!("the logger panicked at `{message}`; later panics are not reported"),
        );
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::Logger;

    fn message(text: &str) -> Message {
        Logger::default().event("…").message(Level::Info, &text)
    }

    fn texts(state: &mut State) -> Vec<String> {
        std::iter::from_fn(|| state.take()).map(|message| message.to_string()).collect()
    }

    #[test]
    fn messages_leave_in_their_order() {
        let queue = Queue::new();
        for text in ["one", "two", "three"] {
            queue.push(message(text));
        }
        assert_eq!(texts(&mut queue.lock()), ["one", "two", "three"]);
    }

    #[test]
    fn full_queue_drops_and_counts_in_place() {
        let queue = Queue::new();
        for number in 0..CAPACITY + 12 {
            queue.push(message(&number.to_string()));
        }
        assert_eq!(queue.next().to_string(), "0");
        assert_eq!(queue.next().to_string(), "1");
        queue.push(message("later"));
        let rest = texts(&mut queue.lock());
        assert_eq!(rest.len(), CAPACITY);
        assert_eq!(rest[CAPACITY - 3..], ["1023", "12 messages dropped", "later"]);
        assert_eq!(queue.lock().dropped_total, 12);
    }

    #[test]
    fn flush_without_writer_returns() {
        let queue = Queue::new();
        queue.push(message("waits for a writer"));
        queue.wait_until_empty(Instant::now() + Duration::from_secs(3600));
    }

    #[test]
    fn flush_ends_at_its_deadline_while_logger_blocks() {
        let queue = Queue::new();
        queue.lock().has_writer = true;
        queue.push(message("blocked"));
        queue.next();
        queue.wait_until_empty(Instant::now());
        assert!(!queue.lock().is_empty());
    }
}
