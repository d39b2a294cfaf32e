use std::sync::mpsc::{Receiver, channel};

use super::*;

struct Fixture {
    shared: Arc<LeaderState>,
    told: Receiver<ToMaster>,
}

impl Fixture {
    fn new() -> Self {
        let (sender, told) = channel();
        let shared = LeaderState::new(Box::new(move |message| sender.send(message).unwrap()));
        Self { shared, told }
    }

    fn leadership(&self) -> Leadership {
        Leadership::new(Arc::clone(&self.shared))
    }

    /// The child asks, and the master answers.
    fn becomes_leader(&self, leadership: &Leadership) -> LeaderTerm {
        let mut term = leadership.term();
        assert!(poll(&mut term).is_pending());
        self.shared.lead();
        let Poll::Ready(Some(term)) = poll(&mut term) else { panic!("not the leader") };
        term
    }

    /// What the master was told since the last call.
    fn told(&self) -> Vec<ToMaster> {
        self.told.try_iter().collect()
    }

    /// Forgets when the child has asked, as if a second had passed.
    fn rest(&self) {
        self.shared.lock().asked_at = None;
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

const CANDIDATE: &[ToMaster] = &[ToMaster::Candidate];
const RESIGNED: &[ToMaster] = &[ToMaster::Resigned];
const NOTHING: &[ToMaster] = &[];

#[test]
fn child_asks_once_for_all_that_wait_and_resigns_with_the_last_term() {
    let child = Fixture::new();
    let leadership = child.leadership();
    assert_eq!(child.told(), NOTHING);
    let (mut first, mut second) = (leadership.term(), leadership.term());
    assert_eq!(child.told(), NOTHING, "a future is not polled yet");
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    assert_eq!(child.told(), CANDIDATE);
    child.shared.lead();
    assert!(leadership.is_leader());
    let Poll::Ready(Some(term)) = poll(&mut first) else { panic!("not the leader") };
    let Poll::Ready(Some(other)) = poll(&mut second) else { panic!("not the leader") };
    let Some(third) = leadership.wait() else { panic!("not the leader") };
    let mut over = term.over();
    assert!(poll(&mut over).is_pending() && !term.is_over());
    child.shared.resign();
    assert!(poll(&mut over).is_ready() && term.is_over() && !leadership.is_leader());
    assert!(term.wait_timeout(Duration::MAX));
    drop((term.clone(), term, other));
    assert_eq!(child.told(), NOTHING);
    assert!(child.shared.is_at_work());
    drop(third);
    assert_eq!(child.told(), RESIGNED);
    assert!(!child.shared.is_at_work());
}

#[test]
fn child_that_waits_no_more_declines() {
    let child = Fixture::new();
    let mut term = child.leadership().term();
    assert!(poll(&mut term).is_pending());
    drop(term);
    child.shared.lead();
    assert_eq!(child.told(), [ToMaster::Candidate, ToMaster::Resigned]);
    assert!(!child.leadership().is_leader());
}

#[test]
fn future_that_is_dropped_after_it_was_woken_gives_the_leadership_up() {
    let child = Fixture::new();
    let mut term = child.leadership().term();
    assert!(poll(&mut term).is_pending());
    child.shared.lead();
    assert_eq!(child.told(), CANDIDATE);
    drop(term);
    assert_eq!(child.told(), RESIGNED);
}

#[test]
fn order_to_resign_that_crosses_the_resignation_ends_no_later_term() {
    let child = Fixture::new();
    let leadership = child.leadership();
    let mut term = leadership.term();
    assert!(poll(&mut term).is_pending());
    child.shared.lead();
    drop(poll(&mut term));
    child.rest();
    let mut term = leadership.term();
    assert!(poll(&mut term).is_pending());
    assert_eq!(child.told(), [ToMaster::Candidate, ToMaster::Resigned, ToMaster::Candidate]);
    child.shared.resign();
    child.shared.lead();
    let Poll::Ready(Some(term)) = poll(&mut term) else { panic!("not the leader") };
    assert!(!term.is_over());
}

#[test]
fn what_waits_while_a_term_ends_asks_after_it() {
    let child = Fixture::new();
    let leadership = child.leadership();
    let old = child.becomes_leader(&leadership);
    child.shared.resign();
    child.rest();
    let mut next = leadership.term();
    assert!(poll(&mut next).is_pending());
    assert_eq!(child.told(), CANDIDATE);
    drop(old);
    assert_eq!(child.told(), [ToMaster::Resigned, ToMaster::Candidate]);
    assert!(poll(&mut next).is_pending());
}

#[test]
fn child_that_gives_up_at_once_asks_again_after_the_interval() {
    let child = Fixture::new();
    let leadership = child.leadership();
    let start = Instant::now();
    for _ in 0..2 {
        let mut term = leadership.term();
        assert!(poll(&mut term).is_pending());
        assert_eq!(child.told.recv().unwrap(), ToMaster::Candidate);
        child.shared.lead();
        drop(poll(&mut term));
        assert_eq!(child.told.recv().unwrap(), ToMaster::Resigned);
    }
    assert!(start.elapsed() >= ASKING_INTERVAL);
}

#[test]
fn stop_ends_the_term_and_every_wait() {
    let child = Fixture::new();
    let leadership = child.leadership();
    let old = child.becomes_leader(&leadership);
    child.shared.resign();
    let waiting = leadership.clone();
    let thread = thread::spawn(move || waiting.wait().is_none());
    let mut next = leadership.term();
    assert!(poll(&mut next).is_pending());
    child.shared.close();
    assert!(thread.join().unwrap(), "the thread got a term");
    assert!(matches!(poll(&mut next), Poll::Ready(None)));
    assert!(leadership.wait().is_none());
    drop(old);
    assert_eq!(child.told(), [ToMaster::Candidate, ToMaster::Resigned]);
}

#[test]
fn child_that_stops_declines_an_election_that_crossed_the_stop() {
    let child = Fixture::new();
    let mut term = child.leadership().term();
    assert!(poll(&mut term).is_pending());
    child.shared.close();
    child.shared.lead();
    assert_eq!(child.told(), [ToMaster::Candidate, ToMaster::Resigned]);
    assert!(matches!(poll(&mut term), Poll::Ready(None)));
}
