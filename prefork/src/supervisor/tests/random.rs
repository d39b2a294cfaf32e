//! Property tests on random histories.
//!
//! Times are multiples of 50 ms, so that several events fall into one moment. The invariants after every
//! batch are in `check.rs`.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::FleetState;
use super::leader::Ambition;
use super::*;

/// After this time there are no requests, and new children are healthy.
const PEACE: Duration = secs(8);

fn moment(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most / 50).prop_map(|steps| ms(steps * 50))
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![12 => Just(Start::Works), 2 => Just(Start::FailsForNow), 1 => Just(Start::FailsForGood)]
}

fn nature() -> impl Strategy<Value = Nature> {
    let life = (option::weighted(0.8, moment(600)), option::weighted(0.4, (moment(3000), any::<bool>())));
    let words = (option::weighted(0.2, moment(2000)), option::weighted(0.02, moment(300)));
    let unlinks = option::weighted(0.1, moment(3000));
    let stop = option::weighted(0.8, moment(400));
    let told_after = prop_oneof![3 => Just(Duration::ZERO), 1 => moment(400)];
    let begin = (start(), told_after);
    (begin, life, words, unlinks, stop).prop_map(|(begin, (ready, exit), words, unlinks, stop)| {
        let (start, told_after) = begin;
        let (recycle_requested, refuses) = words;
        // A child that becomes ready has taken the handshake.
        let refuses = if ready.is_some() { None } else { refuses };
        Nature { start, told_after, ready, exit, recycle_requested, refuses, unlinks, stop }
    })
}

fn request() -> impl Strategy<Value = Request> + Clone {
    prop_oneof![
        4 => Just(Request::Reload),
        2 => (0..4_usize, option::of(moment(3000))).prop_map(|(children, hold)| {
            Request::ReloadWith(CanaryChoice { children: Some(children), hold })
        }),
        2 => Just(Request::Promote),
        2 => Just(Request::Rollback),
        2 => Just(Request::Upgrade),
        3 => Just(Request::Grow),
        3 => Just(Request::Shrink),
        2 => (0..7_usize).prop_map(Request::Resize),
    ]
}

fn any_request() -> impl Strategy<Value = Request> + Clone {
    prop_oneof![8 => request(), 1 => Just(Request::Stop), 1 => Just(Request::Quit)]
}

fn settings_of_any_kind() -> impl Strategy<Value = Settings> {
    let recover = (option::of(0..8_u32), option::of(moment(5000)), moment(300));
    let times = (moment(600), moment(500).prop_map(|time| time + ms(150)), moment(500));
    let rollout = (1..3_usize, option::weighted(0.3, moment(3000).prop_map(|time| time + ms(500))));
    let canary = (prop_oneof![2 => Just(0), 1 => 1..4_usize], moment(3000), any::<bool>());
    (1..4_usize, recover, times, rollout, canary).prop_map(|(workers, recover, times, rollout, canary)| {
        Settings {
            workers,
            most_workers: 5,
            recover: RecoverPolicy::new(recover.0, recover.1, recover.2),
            grace: times.0,
            start_timeout: times.1,
            stop_delay: times.2,
            reload_parallel: rollout.0,
            max_lifetime: rollout.1,
            canary: canary.0,
            // A fleet that is left alone comes to rest.
            hold: Some(canary.1),
            asks_canary: canary.2,
        }
    })
}

/// Settings of a fleet that recovers any number of failures, and tries to start a child for a minute.
fn immortal() -> impl Strategy<Value = Settings> {
    settings_of_any_kind().prop_map(|mut settings| {
        settings.recover.threshold = u32::MAX;
        settings.recover.window = None;
        settings
    })
}

#[derive(Debug)]
struct History {
    settings: Settings,
    natures: BTreeMap<u64, Nature>,
    requests: Vec<(Duration, Request)>,
    interruptions: BTreeMap<usize, Request>,
    actions_in_a_turn: usize,
    failing_hook: Option<usize>,
    queue: Duration,
    exec_works: bool,
    /// The program's answer when it is asked about a canary.
    answer: Option<Event>,
    ambition: Ambition,
}

fn ambition() -> impl Strategy<Value = Ambition> {
    let answers = (option::weighted(0.8, moment(400)), option::weighted(0.3, moment(2000)));
    (option::weighted(0.7, moment(800)), answers).prop_map(|(asks, (resigns, gives_up))| Ambition {
        asks,
        resigns,
        gives_up,
    })
}

fn history(
    settings: impl Strategy<Value = Settings>,
    request: impl Strategy<Value = Request> + Clone,
) -> impl Strategy<Value = History> {
    let natures = btree_map(0..40_u64, nature(), 0..30);
    let interruptions = btree_map(1..60_usize, request.clone(), 0..4);
    let actions_in_a_turn = prop_oneof![Just(usize::MAX), 1..4_usize];
    let requests = (vec((moment(7000), request), 0..12), interruptions, actions_in_a_turn, ambition());
    let answer =
        prop::sample::select(vec![None, Some(Event::CanaryRefused), Some(Event::Request(Request::Promote))]);
    let others = (option::weighted(0.1, 0..20_usize), moment(200), any::<bool>(), answer);
    (settings, natures, requests, others).prop_map(
        |(
            settings,
            natures,
            (requests, interruptions, actions_in_a_turn, ambition),
            (failing_hook, queue, exec_works, answer),
        )| History {
            settings,
            natures,
            requests,
            interruptions,
            actions_in_a_turn,
            failing_hook,
            queue,
            exec_works,
            ambition,
            answer,
        },
    )
}

/// A history without a start, handshake or hook that ends the fleet.
fn survivable() -> impl Strategy<Value = History> {
    history(immortal(), request()).prop_map(|mut history| {
        history.failing_hook = None;
        history.natures.values_mut().for_each(spare_the_fleet);
        history
    })
}

fn spare_the_fleet(nature: &mut Nature) {
    nature.refuses = None;
    if nature.start == Start::FailsForGood {
        nature.start = Start::FailsForNow;
    }
}

impl History {
    fn begin(self) -> Fleet {
        let mut fleet = Fleet::new(self.settings);
        fleet.natures = self.natures;
        fleet.interruptions = self.interruptions;
        fleet.actions_in_a_turn = self.actions_in_a_turn;
        fleet.failing_hook = self.failing_hook;
        fleet.queue = self.queue;
        fleet.exec_works = self.exec_works;
        fleet.leaders.ambition = self.ambition;
        fleet.answer = self.answer;
        for (at, request) in self.requests {
            fleet.plan(fleet.start + at, Event::Request(request));
        }
        fleet
    }
}

impl Fleet {
    fn make_peace(&mut self) {
        self.run(PEACE);
        self.natures.clear();
        self.leaders.ambition.gives_up = None;
        self.interruptions.clear();
        self.agenda.retain(|_, event| !matches!(event, Event::RecycleRequested(..)));
    }

    /// Stops; checks that the stop ends within stop delay and grace, which for a child that a template is about to fork
    /// begins when it is forked.
    fn stop_in_time(&mut self) {
        let Settings { stop_delay, grace, .. } = self.settings;
        self.request(Request::Stop);
        self.run(stop_delay + LONGEST_FORK + grace + DEATH);
        assert!(self.verdict.is_some(), "a stop has to end: {self:?}");
    }

    pub(super) fn assert_over(&mut self) {
        let ends = self.history.iter().filter(|(_, action)| matches!(action, Action::Finish(_)));
        assert_eq!(ends.count(), 1);
        let forever = self.now + secs(1_000_000);
        for event in [Event::DeadlinePassed, Event::Request(Request::Stop), Event::Request(Request::Reload)] {
            self.supervisor.handle(forever, event);
            assert_eq!(self.supervisor.poll_action(), None, "after the end");
        }
        assert_eq!(self.supervisor.next_deadline(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_history_keeps_invariants_and_stop_ends(
        history in history(settings_of_any_kind(), any_request()),
    ) {
        let mut fleet = history.begin();
        fleet.run(PEACE);
        if fleet.verdict.is_none() {
            fleet.stop_in_time();
        }
        fleet.assert_over();
    }

    #[test]
    fn any_history_with_changing_settings_keeps_invariants_and_stop_ends(
        history in history(settings_of_any_kind(), any_request()),
        changes in vec((moment(7000), settings_of_any_kind()), 1..6),
    ) {
        // Stops and replacements under way end as they were planned.
        let Settings { grace, reload_parallel, .. } = history.settings;
        let mut fleet = history.begin();
        for (at, change) in changes {
            let change = Settings { grace, reload_parallel, ..change };
            fleet.plan(fleet.start + at, Event::SettingsChanged(change));
        }
        fleet.run(PEACE);
        if fleet.verdict.is_none() {
            fleet.stop_in_time();
        }
        fleet.assert_over();
    }

    #[test]
    fn quit_in_any_history_ends_at_once(history in history(settings_of_any_kind(), any_request()), at in moment(7000)) {
        let mut fleet = history.begin();
        fleet.run(at);
        if fleet.verdict.is_none() {
            fleet.request(Request::Quit);
            // A child that a template is about to fork cannot be killed before.
            fleet.run(LONGEST_FORK + DEATH);
        }
        fleet.assert_over();
    }

    #[test]
    fn any_history_with_healthy_children_becomes_whole(history in survivable()) {
        let mut fleet = history.begin();
        fleet.settings.max_lifetime = None;
        fleet.supervisor.settings.max_lifetime = None;
        fleet.make_peace();
        fleet.run(secs(300));
        prop_assert!(fleet.is_complete(), "{fleet:?}");
        prop_assert_eq!(fleet.processes.len(), fleet.supervisor.fleet_size(), "a child outside of the slots");
        let state = fleet.supervisor.status(fleet.now).state;
        prop_assert_eq!(state, FleetState::Serving, "a reload never ended: {:?}", fleet);
        fleet.story();
        fleet.run(secs(3600));
        prop_assert_eq!(fleet.story(), "", "the fleet is not idle");
    }

    #[test]
    fn start_failures_after_full_start_end_no_fleet_with_a_healthy_child(
        settings in settings_of_any_kind(),
        starts in btree_map(4..60_u64, start(), 0..40),
        requests in vec((moment(7000), request()), 0..12),
    ) {
        let mut fleet = Fleet::serving(Settings { start_timeout: secs(1), max_lifetime: None, ..settings });
        fleet.run(secs(1));
        // Children come and go cleanly, except that of slot 0.
        fleet.nature = Nature { exit: Some((ms(1500), true)), ..WELL };
        for (child, start) in starts {
            fleet.cast(child, Nature { start, ..fleet.nature });
        }
        // A reload would exchange the healthy child for one of the others.
        let keeps_child = |request: &Request| {
            !matches!(request, Request::Reload | Request::ReloadWith(_) | Request::Upgrade)
        };
        for (at, request) in requests.into_iter().filter(|(_, request)| keeps_child(request)) {
            fleet.plan(fleet.now + at, Event::Request(request));
        }
        for child in 1..fleet.settings.workers {
            fleet.plan(fleet.now, Event::Exited { child: ChildId(child as u64), exit: Exit::Clean });
        }
        fleet.run(PEACE);
        prop_assert_eq!(fleet.verdict, None, "{:?}", fleet);
        fleet.natures.clear();
        fleet.nature = WELL;
        fleet.agenda.retain(|_, event| !matches!(event, Event::Exited { .. }));
        fleet.run(secs(300));
        prop_assert!(fleet.is_complete() && fleet.verdict.is_none(), "{:?}", fleet);
    }

    #[test]
    fn max_lifetime_in_any_history_replaces_every_child(mut history in survivable(), limit in moment(20_000)) {
        let limit = limit + secs(5);
        history.settings.max_lifetime = Some(limit);
        let mut fleet = history.begin();
        fleet.make_peace();
        let before: Vec<Option<u64>> = { fleet.run(secs(100)); fleet.occupants() };
        // A failed attempt is repeated after a minute.
        fleet.run(limit + secs(70));
        let after = fleet.occupants();
        prop_assert!(before.iter().all(|child| !after.contains(child)), "{:?}", fleet);
    }

    #[test]
    fn failing_children_are_not_started_in_a_hot_loop(
        mut history in survivable(),
        natures in vec((start(), option::weighted(0.3, moment(200)), option::of(moment(1500))), 1..5),
    ) {
        // Up to five starts in a second while the delay grows; more if the children become ready.
        let most = if natures.iter().any(|(_, ready, _)| ready.is_some()) { 12 } else { 5 };
        let natures = natures.into_iter().map(|(start, ready, exit)| {
            let mut nature = Nature { start, ready, exit: exit.map(|after| (after, false)), ..WELL };
            spare_the_fleet(&mut nature);
            nature
        });
        let natures: Vec<Nature> = natures.collect();
        history.requests.clear();
        history.interruptions.clear();
        history.settings.max_lifetime = None;
        history.natures = (0..300).zip(natures.into_iter().cycle()).collect();
        let mut fleet = history.begin();
        fleet.run(secs(20));
        for slot in 0..fleet.settings.workers {
            let starts: Vec<Instant> = starts_in(&fleet, slot).collect();
            let crowded = starts.windows(most + 1).find(|some| some[most] - some[0] < secs(1));
            prop_assert_eq!(crowded, None, "{:?}", fleet);
        }
    }

    #[test]
    fn reload_in_any_history_without_crash_empties_no_slot(
        mut history in survivable(),
        natures in btree_map(5..40_u64, nature(), 0..10),
    ) {
        history.settings.start_timeout = secs(2);
        // New children may fail before they are ready, but not afterwards.
        history.natures = natures;
        for nature in history.natures.values_mut() {
            spare_the_fleet(nature);
            nature.exit = nature.exit.filter(|_| nature.ready.is_none());
            nature.unlinks = nature.unlinks.filter(|_| nature.ready.is_none());
        }
        for (at, _) in &mut history.requests {
            *at += secs(1);
        }
        let mut fleet = history.begin();
        let mut live = BTreeSet::new();
        for _ in 0..1000 {
            fleet.run(ms(10));
            let now: BTreeSet<usize> = live_slots(&fleet).collect();
            let kept = smallest_size(&fleet);
            prop_assert!(live.iter().all(|slot| now.contains(slot) || *slot >= kept), "{:?}", fleet);
            live = now;
        }
    }
}

fn starts_in(fleet: &Fleet, slot: usize) -> impl Iterator<Item = Instant> {
    fleet.history.iter().filter_map(move |(at, action)| match action {
        Action::Spawn { slot: of, .. } if *of == slot => Some(*at),
        _ => None,
    })
}

fn live_slots(fleet: &Fleet) -> impl Iterator<Item = usize> {
    fleet.supervisor.live_slots().enumerate().filter_map(|(slot, live)| live.then_some(slot))
}

/// The smallest size that the fleet had.
fn smallest_size(fleet: &Fleet) -> usize {
    let sizes = fleet.history.iter().filter_map(|(_, action)| match action {
        Action::Log(Remark::Resized { to, .. }) => Some(*to),
        _ => None,
    });
    sizes.chain([fleet.settings.workers]).min().unwrap_or(0)
}
