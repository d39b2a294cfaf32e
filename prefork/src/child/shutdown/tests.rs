mod all_sequences;

use proptest::prelude::*;

use super::*;

/// A stop sequence on a virtual clock, and a server that is as `seen` says.
struct Stop {
    sequence: StopSequence,
    now: Instant,
    seen: Seen,
    /// Every action so far, and when it was due.
    actions: Vec<(Duration, StopAction)>,
    begun: Instant,
    gate_holds: bool,
    gate_closes: bool,
}

const QUEUE_LIMIT: Duration = Duration::from_secs(60);
const QUIET: SeenAccepts = SeenAccepts { waiting: 0, unfinished: false };
const COOPERATES: ServerProgress = ServerProgress { cooperates: true, returned: false };

impl Stop {
    fn of(sequence: StopSequence) -> Self {
        let now = Instant::now();
        let seen = Seen {
            queued: Some(0),
            accepts: Some(QUIET),
            active: Some(false),
            connected: false,
            server: ServerProgress::default(),
        };
        Self { sequence, now, seen, actions: Vec::new(), begun: now, gate_holds: true, gate_closes: true }
    }

    fn of_async_server() -> Self {
        Self::of(StopSequence::new(false, false, QUEUE_LIMIT))
    }

    fn of_accepting_threads() -> Self {
        Self::of(StopSequence::new(true, false, QUEUE_LIMIT))
    }

    fn handle(&mut self, event: StopEvent) {
        self.sequence.handle(self.now, event);
        while let Some(action) = self.sequence.poll_action() {
            self.actions.push((self.now - self.begun, action));
            let answer = match action {
                StopAction::Inspect => StopEvent::Inspected { gate_holds: self.gate_holds },
                StopAction::CloseGate if self.gate_closes => StopEvent::GateClosed,
                StopAction::CloseGate => StopEvent::GateNotClosed,
                _ => continue,
            };
            self.sequence.handle(self.now, answer);
        }
    }

    /// Looks once, when that is due. `None` if nothing is due.
    fn look(&mut self) -> Option<()> {
        self.now = self.now.max(self.sequence.next_look()?);
        self.handle(StopEvent::Looked(self.seen));
        Some(())
    }

    fn look_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.sequence.next_look().is_some_and(|at| at <= end) {
            self.look();
        }
        self.now = end;
    }

    fn names(&self) -> Vec<StopAction> {
        self.actions.iter().map(|(_, action)| *action).collect()
    }

    fn did(&self, action: StopAction) -> bool {
        self.names().contains(&action)
    }

    fn wakes(&self) -> usize {
        self.names().iter().filter(|action| matches!(action, StopAction::WakeAcceptors(_))).count()
    }
}

#[test]
fn idle_server_without_shutdown_exits() {
    let mut stop = Stop::of_async_server();
    stop.handle(StopEvent::Ordered);
    stop.look_for(Duration::from_secs(1));
    let expected = [
        StopAction::Inspect,
        StopAction::CloseGate,
        StopAction::SignalShutdown,
        StopAction::Release,
        StopAction::Exit,
    ];
    assert_eq!(stop.names(), expected);
    assert_eq!(stop.sequence.next_look(), None);
}

#[test]
fn cooperating_server_is_not_ended() {
    let mut stop = Stop::of_async_server();
    stop.seen.server = COOPERATES;
    stop.handle(StopEvent::Ordered);
    stop.look_for(Duration::from_secs(60));
    assert!(stop.did(StopAction::Release));
    assert!(!stop.did(StopAction::Exit));
    assert_eq!(stop.sequence.next_look(), None, "a drained child sleeps");
}

#[test]
fn signal_is_a_request_and_the_child_goes_on_until_it_is_ordered() {
    let mut stop = Stop::of_async_server();
    stop.handle(StopEvent::Signalled);
    stop.handle(StopEvent::Signalled);
    stop.look_for(ASK_LIMIT / 2);
    assert_eq!(stop.names(), [StopAction::AskMaster]);
    stop.handle(StopEvent::Ordered);
    assert!(stop.did(StopAction::CloseGate));
}

#[test]
fn signalled_child_stops_by_itself_if_its_master_does_not_answer() {
    let mut stop = Stop::of_async_server();
    stop.handle(StopEvent::Signalled);
    stop.look_for(ASK_LIMIT + Duration::from_secs(1));
    assert!(stop.did(StopAction::Exit));
}

#[test]
fn signalled_child_serves_until_the_order_of_a_master_that_knows_of_the_signal() {
    for end in [StopEvent::Ordered, StopEvent::OrderedAfterQueue, StopEvent::Orphaned] {
        let mut stop = Stop::of_async_server();
        stop.handle(StopEvent::Signalled);
        stop.handle(StopEvent::Noted);
        stop.look_for(ASK_LIMIT * 20);
        stop.handle(StopEvent::Signalled);
        assert_eq!(stop.names(), [StopAction::AskMaster]);
        assert_eq!((stop.sequence.is_serving(), stop.sequence.next_look()), (true, None));
        stop.handle(end);
        stop.look_for(ASK_LIMIT);
        assert!(stop.did(StopAction::Exit), "{end:?}");
    }
}

#[test]
fn signalled_child_stops_at_once_if_its_master_dies() {
    let mut stop = Stop::of_async_server();
    stop.handle(StopEvent::Signalled);
    stop.handle(StopEvent::Orphaned);
    assert!(stop.did(StopAction::CloseGate));
}

#[test]
fn queue_is_accepted_before_the_gate_is_closed() {
    let mut stop = Stop::of_async_server();
    stop.seen.queued = Some(3);
    stop.handle(StopEvent::OrderedAfterQueue);
    stop.look_for(Duration::from_secs(20));
    assert!(!stop.did(StopAction::CloseGate));
    stop.seen.queued = Some(0);
    stop.look_for(Duration::from_secs(1));
    assert!(stop.did(StopAction::CloseGate));
}

#[test]
fn queue_that_is_never_empty_is_left_after_its_limit() {
    let mut stop = Stop::of_async_server();
    stop.seen.queued = Some(1);
    stop.handle(StopEvent::OrderedAfterQueue);
    stop.look_for(2 * QUEUE_LIMIT);
    let closed = stop.actions.iter().find(|(_, action)| *action == StopAction::CloseGate).unwrap().0;
    assert!(closed >= QUEUE_LIMIT && closed < QUEUE_LIMIT + Duration::from_secs(1), "{closed:?}");
}

#[test]
fn order_to_stop_ends_the_wait_for_the_queue() {
    let mut stop = Stop::of_async_server();
    stop.seen.queued = Some(3);
    stop.handle(StopEvent::OrderedAfterQueue);
    stop.look();
    stop.handle(StopEvent::Ordered);
    assert!(stop.did(StopAction::CloseGate));
}

#[test]
fn shutdown_waits_until_connections_are_quiet() {
    let mut stop = Stop::of_async_server();
    stop.seen = Seen { active: Some(true), connected: true, server: COOPERATES, ..stop.seen };
    stop.handle(StopEvent::Ordered);
    stop.look_for(ACTIVE_LIMIT / 2);
    assert!(!stop.did(StopAction::SignalShutdown));
    stop.seen.active = Some(false);
    stop.look_for(LONGEST_PAUSE);
    assert!(stop.did(StopAction::SignalShutdown));
}

#[test]
fn shutdown_waits_no_longer_than_a_second_for_connections() {
    let mut stop = Stop::of_async_server();
    stop.seen = Seen { active: Some(true), connected: true, server: COOPERATES, ..stop.seen };
    stop.handle(StopEvent::Ordered);
    stop.look_for(ACTIVE_LIMIT + LONGEST_PAUSE);
    assert!(stop.did(StopAction::SignalShutdown));
}

#[test]
fn shutdown_waits_for_threads_that_return_from_accept() {
    let mut stop = Stop::of_async_server();
    stop.seen.accepts = Some(SeenAccepts { waiting: 0, unfinished: true });
    stop.handle(StopEvent::Ordered);
    stop.look_for(ACCEPT_LIMIT / 2);
    assert!(!stop.did(StopAction::SignalShutdown));
    stop.seen.accepts = Some(QUIET);
    stop.look_for(LONGEST_PAUSE);
    assert!(stop.did(StopAction::SignalShutdown));
}

#[test]
fn system_that_can_tell_nothing_gets_a_fixed_wait() {
    let mut stop = Stop::of_async_server();
    stop.seen = Seen { queued: None, accepts: None, active: None, server: COOPERATES, ..stop.seen };
    stop.handle(StopEvent::Ordered);
    stop.look_for(BLIND_WAIT / 2);
    assert!(!stop.did(StopAction::SignalShutdown));
    stop.look_for(BLIND_WAIT);
    assert!(stop.did(StopAction::SignalShutdown));
    stop.look_for(Duration::from_secs(1));
    assert!(stop.did(StopAction::Release));
    assert!(!stop.did(StopAction::Exit), "a runtime returns");
}

#[test]
fn loop_that_cannot_be_interrupted_is_ended_when_it_is_drained() {
    let mut stop = Stop::of_accepting_threads();
    stop.seen = Seen { accepts: None, active: None, server: COOPERATES, ..stop.seen };
    stop.handle(StopEvent::Ordered);
    stop.look_for(Duration::from_secs(1));
    assert!(stop.did(StopAction::Exit));
}

#[test]
fn loop_learns_of_the_stop_only_behind_the_gate_and_is_woken_there() {
    let mut stop = Stop::of_accepting_threads();
    stop.seen.server = COOPERATES;
    stop.handle(StopEvent::Ordered);
    stop.look();
    stop.look();
    assert!(!stop.did(StopAction::SignalShutdown), "its thread is not seen in `accept`");
    stop.seen.accepts = Some(SeenAccepts { waiting: 1, unfinished: false });
    stop.look();
    stop.look();
    assert!(stop.did(StopAction::SignalShutdown));
    assert!(stop.did(StopAction::WakeAcceptors(1)));
    stop.look_for(Duration::from_secs(10));
    assert!(stop.wakes() <= 2 * WAKES as usize + 10, "at first some, then one a second");
}

#[test]
fn loop_that_comes_late_to_accept_is_woken() {
    for connected in [false, true] {
        let mut stop = Stop::of_accepting_threads();
        stop.seen = Seen { connected, server: COOPERATES, ..stop.seen };
        stop.handle(StopEvent::Ordered);
        stop.look_for(Duration::from_secs(60));
        assert!(stop.did(StopAction::SignalShutdown));
        stop.seen.accepts = Some(SeenAccepts { waiting: 1, unfinished: false });
        stop.look_for(LONGEST_PAUSE * LOOKS_BETWEEN_WAKES);
        assert!(stop.did(StopAction::WakeAcceptors(1)));
    }
}

#[test]
fn loop_is_woken_also_after_a_long_wait_for_active_connections() {
    let mut stop = Stop::of_accepting_threads();
    stop.seen = Seen { active: Some(true), connected: true, server: COOPERATES, ..stop.seen };
    stop.seen.accepts = Some(SeenAccepts { waiting: 1, unfinished: false });
    stop.handle(StopEvent::Ordered);
    stop.look_for(ACTIVE_LIMIT * 2);
    assert!(stop.did(StopAction::SignalShutdown));
    assert!(stop.did(StopAction::WakeAcceptors(1)));
}

#[test]
fn loop_that_serves_in_its_own_thread_is_woken_after_its_last_connection() {
    let mut stop = Stop::of_accepting_threads();
    stop.seen.server = COOPERATES;
    stop.seen.connected = true;
    stop.handle(StopEvent::Ordered);
    stop.look_for(Duration::from_secs(60));
    assert!(stop.did(StopAction::SignalShutdown));
    stop.seen.connected = false;
    stop.look();
    stop.seen.accepts = Some(SeenAccepts { waiting: 3, unfinished: false });
    stop.look_for(LONGEST_PAUSE * WAKES);
    assert_eq!(stop.wakes(), WAKES as usize);
    stop.look_for(Duration::from_secs(60));
    assert!(stop.did(StopAction::Release) && !stop.did(StopAction::Exit));
    stop.seen.server.returned = true;
    stop.look();
    assert_eq!(stop.sequence.next_look(), None, "a drained child sleeps");
}

#[test]
fn server_that_the_gate_does_not_hold_learns_of_the_stop_first() {
    let mut stop = Stop::of_async_server();
    stop.gate_holds = false;
    stop.seen = Seen { active: Some(true), ..stop.seen };
    stop.handle(StopEvent::Ordered);
    assert_eq!(stop.names(), [StopAction::Inspect, StopAction::SignalShutdown, StopAction::CloseGate]);
}

#[test]
fn gate_that_does_not_close_is_tried_again() {
    let mut stop = Stop::of_async_server();
    stop.gate_closes = false;
    stop.handle(StopEvent::Ordered);
    stop.look_for(Duration::from_secs(1));
    let tries = stop.names().into_iter().filter(|action| *action == StopAction::CloseGate).count();
    assert!(tries > 5);
    assert!(stop.did(StopAction::SignalShutdown));
    stop.gate_closes = true;
    stop.look_for(Duration::from_secs(1));
    assert!(stop.did(StopAction::Exit));
}

#[test]
fn open_gate_drains_only_once_the_server_has_returned() {
    let mut stop = Stop::of(StopSequence::new(false, true, QUEUE_LIMIT));
    stop.seen.server = COOPERATES;
    stop.handle(StopEvent::Ordered);
    stop.look_for(Duration::from_secs(10));
    assert!(stop.did(StopAction::SignalShutdown));
    assert!(!stop.did(StopAction::Release));
    stop.seen.server.returned = true;
    stop.look_for(LONGEST_PAUSE * 2);
    assert!(stop.did(StopAction::Release));
}

#[test]
fn end_of_last_connection_is_noticed_within_a_tenth_of_a_second() {
    let mut stop = Stop::of_async_server();
    stop.seen.connected = true;
    stop.handle(StopEvent::Ordered);
    stop.look_for(Duration::from_secs(3600));
    assert!(!stop.did(StopAction::Exit));
    stop.seen.connected = false;
    stop.look_for(Duration::from_millis(100));
    assert!(stop.did(StopAction::Exit));
}

fn seen() -> impl Strategy<Value = Seen> {
    let accepts = (0..3_usize, any::<bool>());
    let accepts =
        prop::option::of(accepts.prop_map(|(waiting, unfinished)| SeenAccepts { waiting, unfinished }));
    let server =
        any::<(bool, bool)>().prop_map(|(cooperates, returned)| ServerProgress { cooperates, returned });
    (any::<Option<u32>>(), accepts, any::<Option<bool>>(), any::<bool>(), server).prop_map(
        |(queued, accepts, active, connected, server)| Seen { queued, accepts, active, connected, server },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Event(StopEvent),
    See(Seen),
    GateCloses(bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let event = prop::sample::select(vec![
        StopEvent::Signalled,
        StopEvent::Noted,
        StopEvent::Ordered,
        StopEvent::OrderedAfterQueue,
        StopEvent::Orphaned,
    ]);
    prop_oneof![
        1 => event.prop_map(Step::Event),
        3 => seen().prop_map(Step::See),
        1 => any::<bool>().prop_map(Step::GateCloses),
        4 => (0..2_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order: each action comes at most as often as it may, in its order, and
    /// a child that was ordered to stop ends once its server is quiet.
    #[test]
    fn any_history_keeps_the_promises(
        blocking: bool,
        gate_stays_open: bool,
        gate_holds: bool,
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut stop = Stop::of(StopSequence::new(blocking, gate_stays_open, QUEUE_LIMIT));
        stop.gate_holds = gate_holds;
        for step in steps {
            match step {
                Step::Event(event) => stop.handle(event),
                Step::See(seen) => stop.seen = seen,
                Step::GateCloses(closes) => stop.gate_closes = closes,
                Step::Wait(millis) => stop.look_for(Duration::from_millis(millis)),
            }
            check(&stop)?;
        }
        stop.gate_closes = true;
        stop.seen = Seen { queued: Some(0), accepts: Some(QUIET), active: Some(false), ..Seen::default() };
        stop.seen.server.returned = true;
        stop.handle(StopEvent::Ordered);
        stop.look_for(Duration::from_secs(5));
        check(&stop)?;
        prop_assert!(stop.did(StopAction::SignalShutdown));
        prop_assert!(stop.did(StopAction::Release) || stop.did(StopAction::Exit));
        prop_assert_eq!(stop.sequence.next_look(), None);
    }
}

fn check(stop: &Stop) -> Result<(), TestCaseError> {
    let names = stop.names();
    let place = |wanted: StopAction| names.iter().position(|action| *action == wanted);
    let count = |wanted: StopAction| names.iter().filter(|action| **action == wanted).count();
    for once in [StopAction::AskMaster, StopAction::Inspect, StopAction::SignalShutdown, StopAction::Release]
    {
        prop_assert!(count(once) <= 1, "{once:?} twice in {names:?}");
    }
    // In a row when `Shutdown` is signalled, and after the last connection. Late threads: one a second.
    let seconds = (stop.now - stop.begun).as_secs();
    prop_assert!(stop.sequence.gate_stays_open || stop.wakes() as u64 <= 2 * u64::from(WAKES) + seconds);
    if let Some(shutdown) = place(StopAction::SignalShutdown) {
        let closed = place(StopAction::CloseGate);
        prop_assert!(closed.is_some_and(|closed| closed < shutdown) || !stop.gate_holds, "{names:?}");
    }
    for end in [StopAction::Release, StopAction::Exit] {
        if let Some(end) = place(end) {
            prop_assert!(place(StopAction::SignalShutdown).is_some_and(|shutdown| shutdown < end));
        }
    }
    if let Some(at) = stop.sequence.next_look() {
        prop_assert!(at <= stop.now + ASK_LIMIT);
    }
    Ok(())
}
