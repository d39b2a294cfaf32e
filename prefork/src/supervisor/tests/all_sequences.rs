//! Every sequence of events, to a depth, in fleets of one to three slots. [`explorer`](crate::explorer) says what counts
//! as one state.
//!
//! What happens, in `world.rs`: starts succeed, or fail for now or for good, at once or later; children become ready,
//! exit, say what a child can say, lose or abuse their link, and stop or do not; the next deadline passes, or several at
//! once because the driver is late; operators ask for all that they can ask for; a hook fails; the new program is
//! executed or not; the program answers about its canary. What templates do is in `templates.rs`.
//!
//! # The rules
//!
//! In each state (`check.rs`, which the random histories share):
//!
//! - The supervisor knows exactly the processes that exist, and observers are told of each of them.
//! - Each slot has one child, or a time for its next one, or a child that is being started; no child is in two slots,
//!   and none that was not asked to stop is outside of the slots.
//! - Each start, reload and upgrade is counted once, and each reload and upgrade has at most one result; none is under
//!   way where none was requested.
//! - At most as many slots are replaced at a time as the options say.
//! - A reload that holds has a canary, and no canary is left when no reload is under way.
//! - There is at most one leader, and none is missing while a candidate serves.
//! - In a fleet that stops, every child is asked to. It has ended when no child is left, and not before.
//! - A deadline that has passed does not come back.
//!
//! In each action (`virtual_fleet.rs`): it names a child that exists; no child is asked to stop, or killed, twice, and a
//! leader is asked to resign before; a child's program is at hand; none is started after the listeners were closed; an
//! exec loses neither an action nor a start; the end comes once, and nothing after it.
//!
//! Of templates, in each action, state and step: `template_rules.rs`.
//!
//! In each step (`rules.rs`):
//!
//! - A child that serves is asked to stop only when its successor serves, its slot is gone, or the fleet ends. So a
//!   reload, a recycling or an upgrade that fails leaves the old child.
//! - No step but the end of its own child leaves a slot of a fleet that runs without a child that serves.
//! - A child is killed only when it is late, lost its link, never took the handshake, or a stop at once was requested.
//!   That kills every child.
//! - No child is started in a fleet that ends, and none in the step that requests a stop at once. A start that is not
//!   needed any more is withdrawn in the step that ends the need.
//! - A request has one answer in the log, and no change begins without one. A second request to stop counts when it is
//!   not the same one.
//! - A reload is complete when every slot has a child of it that serves. `on_master_ready` is called once in a program,
//!   with all children.
//! - Whatever waits for time has a deadline.
//! - Where every failure counts, a fleet that runs has no more of them than are recovered.
//!
//! From each state a friendly environment leads to rest: every start succeeds, every child becomes ready, what was
//! killed ends, and what was asked to stop does, or in some explorations only when it is killed. At rest each slot has a
//! ready child, there is no other process, and no change is under way but a hold without an end; or the fleet has ended.

mod environment;
mod moves;
mod rules;
mod template_actions;
mod template_rules;
mod templates;
mod world;

use super::*;
use crate::explorer::{STATES_MERGE, explore};
use moves::{ChildEvent, Moves, What};
use world::World;

const RELOAD_CANARY: Request = Request::ReloadWith(CanaryChoice { children: Some(1), hold: None });
const RELOAD_HOLD: Request = Request::ReloadWith(CanaryChoice { children: Some(1), hold: Some(secs(10)) });

const OPERATORS: &[Request] = &[
    Request::Reload,
    RELOAD_CANARY,
    Request::Promote,
    Request::Rollback,
    Request::Upgrade,
    Request::Grow,
    Request::Shrink,
    Request::Stop,
    Request::Quit,
];

const MOVES: Moves = Moves {
    requests: OPERATORS,
    exits: &[Exit::Clean, Exit::Failed],
    child_events: &[],
    forks: false,
    templates: false,
    between_actions: false,
    sizes: &[],
    stubborn: false,
};

fn short(workers: usize) -> Settings {
    Settings { most_workers: 3, grace: ms(50), ..settings(workers) }
}

const ALL_CHILD_EVENTS: &[ChildEvent] = &[
    ChildEvent::Refuse,
    ChildEvent::Close,
    ChildEvent::Abuse,
    ChildEvent::Hang,
    ChildEvent::Lead,
    ChildEvent::Recycle(RecycleReason::Retired),
    ChildEvent::Recycle(RecycleReason::Operator),
];

const ALL_EXITS: &[Exit] = &[Exit::Clean, Exit::Failed, Exit::Signalled];

/// Explores, and checks that about as many states are visited as were when the model was written, or more.
fn visit(name: &str, start: World, depth: usize, least: usize) {
    if !STATES_MERGE {
        return println!("{name}: not explored on this system");
    }
    let visited = explore(name, start, depth);
    assert!(visited.states >= least, "the model explores less than it did: {visited:?}");
}

#[test]
fn one_slot_from_its_start_with_everything_that_a_child_does() {
    let moves = Moves { exits: ALL_EXITS, child_events: ALL_CHILD_EVENTS, ..MOVES };
    visit("one slot from its start, all events of a child", World::new(short(1), moves), 3, 1990);
}

#[test]
fn two_slots_whose_starts_are_answered_later() {
    let moves = Moves { child_events: &[ChildEvent::Close], forks: true, stubborn: true, ..MOVES };
    visit("two slots, forks", World::new(short(2), moves), 3, 1180);
}

#[test]
fn one_slot_that_serves_with_everything_that_a_child_does() {
    let moves = Moves { exits: ALL_EXITS, child_events: ALL_CHILD_EVENTS, stubborn: true, ..MOVES };
    visit("one slot that serves, all events of a child", World::serving(short(1), moves), 3, 3330);
}

#[test]
fn two_slots_that_serve_with_all_requests() {
    visit("two slots serving", World::serving(short(2), MOVES), 3, 2000);
}

#[test]
fn three_slots_that_serve_with_two_replaced_at_a_time() {
    let settings = Settings { reload_parallel: 2, ..short(3) };
    visit("three slots serving", World::serving(settings, Moves { stubborn: true, ..MOVES }), 3, 2790);
}

#[test]
fn canary_that_holds() {
    let settings = Settings { asks_canary: true, ..short(2) };
    let moves = Moves { child_events: &[ChildEvent::Recycle(RecycleReason::Operator)], ..MOVES };
    visit("canary", World::serving(settings, moves).after(RELOAD_HOLD).friend(), 3, 7100);
}

#[test]
fn upgrade_of_two() {
    visit("upgrade", World::serving(short(2), MOVES).after(Request::Upgrade), 3, 3150);
    let moves = Moves { forks: true, stubborn: true, ..MOVES };
    visit("upgrade, forks", World::serving(short(2), moves).after(Request::Upgrade), 3, 980);
}

#[test]
fn stop_delay() {
    let settings = Settings { stop_delay: secs(3), ..short(2) };
    let moves = Moves { child_events: &[ChildEvent::Lead, ChildEvent::Abuse], ..MOVES };
    visit("stop delay", World::serving(settings, moves).after(Request::Stop), 3, 760);
}

#[test]
fn leaders() {
    let moves = Moves {
        child_events: &[ChildEvent::Lead],
        requests: &[Request::Reload, Request::Upgrade, Request::Shrink, Request::Stop],
        ..MOVES
    };
    visit("leaders", World::serving(short(2), moves), 3, 1390);
}

#[test]
fn events_between_actions() {
    let moves = Moves { child_events: &[ChildEvent::Abuse], between_actions: true, ..MOVES };
    visit("between actions", World::serving(short(1), moves), 3, 980);
}

#[test]
fn all_failures_count() {
    let settings = Settings { recover: RecoverPolicy::new(Some(2), None, ms(300)), ..short(2) };
    let moves = Moves { exits: ALL_EXITS, requests: &[Request::Reload, Request::Grow], ..MOVES };
    visit("all failures count", World::new(settings, moves), 3, 660);
}

#[test]
fn sizes() {
    let moves = Moves {
        sizes: &[1, 2, 3],
        requests: &[Request::Reload, RELOAD_CANARY, Request::Rollback, Request::Upgrade],
        ..MOVES
    };
    visit("sizes", World::serving(short(2), moves), 3, 1530);
}

#[test]
fn reloads_of_two_slots() {
    let moves = Moves { requests: &[Request::Reload, Request::Shrink], exits: &[Exit::Failed], ..MOVES };
    visit("reloads", World::serving(short(2), moves), 4, 2_300);
}

#[test]
fn canaries_of_two_slots() {
    let requests = &[RELOAD_CANARY, Request::Promote, Request::Rollback];
    visit(
        "canaries",
        World::serving(short(2), Moves { requests, exits: &[Exit::Failed], ..MOVES }),
        4,
        2_000,
    );
}

#[test]
fn upgrades_in_a_reload() {
    let moves = Moves {
        requests: &[Request::Upgrade, Request::Reload],
        exits: &[],
        child_events: &[ChildEvent::Close],
        ..MOVES
    };
    visit("upgrades", World::serving(short(2), moves), 4, 1_500);
}

/// Two slots in a reload whose first child serves, beside the old child of the other slot, whose successor starts.
fn half_reloaded(moves: Moves) -> World {
    World::serving(short(2), moves).after(Request::Reload).then(What::Event(Event::Ready(ChildId(2))))
}

#[test]
fn generations_that_are_needed_after_an_aborted_reload() {
    let moves = Moves { requests: &[RELOAD_CANARY, Request::Rollback], exits: &[Exit::Failed], ..MOVES };
    let failure = Event::Exited { child: ChildId(3), exit: Exit::Failed };
    visit("after an aborted reload", half_reloaded(moves).then(What::Event(failure)), 3, 560);
}

#[test]
fn generations_that_are_needed_by_slots_that_are_added_in_a_reload() {
    let moves = Moves { requests: &[Request::Grow], exits: &[Exit::Clean], ..MOVES };
    visit("slots that are added in a reload", half_reloaded(moves).then(What::Pause), 3, 850);
}

const WITH_TEMPLATES: Moves = Moves {
    requests: &[Request::Reload, Request::Stop, Request::Quit],
    exits: &[Exit::Failed],
    templates: true,
    ..MOVES
};

#[test]
fn templates_from_the_start() {
    visit("templates, one slot from its start", World::new(short(1), WITH_TEMPLATES), 4, 1_700);
    let moves = Moves { stubborn: true, ..WITH_TEMPLATES };
    visit("templates, two slots from their start", World::new(short(2), moves), 3, 380);
}

#[test]
fn templates_of_slots_that_serve() {
    visit("templates, one slot that serves", World::serving(short(1), WITH_TEMPLATES), 3, 600);
    let requests = &[Request::Reload, Request::Grow, Request::Shrink, Request::Stop];
    let moves = Moves { requests, ..WITH_TEMPLATES };
    visit("templates, two slots that serve", World::serving(short(2), moves), 3, 1_700);
}

#[test]
fn templates_that_end_again_and_again() {
    let moves = Moves { requests: &[], ..WITH_TEMPLATES };
    visit("templates that end, one slot", World::serving(short(1), moves), 4, 900);
}

#[test]
fn templates_in_a_reload() {
    let moves = Moves { stubborn: true, ..WITH_TEMPLATES };
    visit("templates in a reload", World::serving(short(2), moves).after(Request::Reload), 3, 2_000);
}

#[test]
fn templates_of_a_canary() {
    let moves = Moves { requests: &[Request::Rollback, Request::Reload], ..WITH_TEMPLATES };
    visit("templates of a canary", World::serving(short(2), moves).after(RELOAD_CANARY).friend(), 2, 230);
}

#[test]
fn templates_in_an_upgrade() {
    let moves = Moves { requests: &[Request::Reload, Request::Stop], ..WITH_TEMPLATES };
    visit("templates in an upgrade", World::serving(short(1), moves).after(Request::Upgrade), 3, 800);
}

#[test]
fn templates_in_a_stop_delay() {
    let settings = Settings { stop_delay: secs(3), ..short(1) };
    let start = World::serving(settings, WITH_TEMPLATES).after(Request::Stop);
    visit("templates in a stop delay", start, 4, 600);
}
