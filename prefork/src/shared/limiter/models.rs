//! Processes that come at once share one limit.

use super::*;
use crate::sync::{model, thread};

#[test]
fn burst_is_allowed_once_however_many_come_at_once() {
    model::check("rate limiter", || {
        let limit = Limit::new(1, Duration::from_secs(1)).burst(2);
        let word: &AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        let take = move || usize::from(limit.take(word, Ordering::Relaxed, SECOND).is_ok());
        let threads = [thread::spawn(take), thread::spawn(take)];
        let allowed = take() + threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
        assert_eq!(allowed, 2);
    });
}
