//! No message is lost, and none stays without a thread that writes it.

use super::*;
use crate::logging::Logger;
use crate::sync::{model, thread};

fn message(text: &str) -> Message {
    Logger::default().event("…").message(Level::Info, &text)
}

fn queue() -> &'static Queue {
    Box::leak(Box::new(Queue::new()))
}

/// What [`Queue::start_writer`] runs, until the message `end`.
fn write_until_end(queue: &Queue) -> Vec<String> {
    std::iter::from_fn(|| Some(queue.next().to_string()).filter(|text| text != "end")).collect()
}

#[test]
fn every_message_is_written_in_its_order_before_the_flush_returns() {
    model::check("log queue", || {
        let queue = queue();
        queue.lock().has_writer = true;
        let writer = thread::spawn(|| write_until_end(queue));
        let other = thread::spawn(|| queue.push(message("other")));
        queue.push(message("one"));
        queue.push(message("two"));
        queue.wait_until_empty(Instant::now() + FLUSH_LIMIT);
        other.join().unwrap();
        queue.wait_until_empty(Instant::now() + FLUSH_LIMIT);
        assert!(queue.lock().is_empty());
        queue.push(message("end"));
        let mut written = writer.join().unwrap();
        let place = written.iter().position(|text| text == "other").unwrap();
        written.remove(place);
        assert_eq!(written, ["one", "two"]);
    });
}

#[test]
fn message_that_comes_as_the_hold_ends_has_a_writer() {
    model::check("log queue that was held", || {
        let queue = queue();
        queue.held.store(true, Ordering::SeqCst);
        let other = thread::spawn(|| queue.push_and_write(message("other")));
        queue.end_hold();
        other.join().unwrap();
        let state = queue.lock();
        assert!(state.has_writer && state.waiting.len() == 1);
    });
}
