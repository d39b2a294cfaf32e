//! Every sequence of events, to a depth, in fleets of one to three slots.

mod moves;
mod rules;
mod world;

use super::*;
use crate::explorer::explore;
use moves::{Moves, Word};
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
    words: &[],
    forks: false,
    between_actions: false,
    sizes: &[],
    stubborn: false,
};

fn short(workers: usize) -> Settings {
    Settings { most_workers: 3, grace: ms(50), ..settings(workers) }
}

const ALL_WORDS: &[Word] = &[
    Word::Refuse,
    Word::Close,
    Word::Abuse,
    Word::Hang,
    Word::Lead,
    Word::Recycle(RecycleReason::Retired),
    Word::Recycle(RecycleReason::Operator),
];

const ALL_EXITS: &[Exit] = &[Exit::Clean, Exit::Failed, Exit::Signalled];

/// Explores, and checks that as many states are visited as were when the model was written, or more.
fn visit(name: &str, start: World, depth: usize, least: usize) {
    let visited = explore(name, start, depth);
    assert!(visited.states >= least, "the model explores less than it did: {visited:?}");
}

#[test]
fn one_slot_from_its_start_with_everything_that_a_child_does() {
    let moves = Moves { exits: ALL_EXITS, words: ALL_WORDS, ..MOVES };
    visit("one slot, all words", World::new(short(1), moves), 3, 100);
}

#[test]
fn two_slots_from_their_start_with_templates() {
    let moves = Moves { words: &[Word::Close], forks: true, stubborn: true, ..MOVES };
    visit("two slots, forks", World::new(short(2), moves), 3, 100);
}

#[test]
fn one_slot_that_serves_with_everything_that_a_child_does() {
    let moves = Moves { exits: ALL_EXITS, words: ALL_WORDS, stubborn: true, ..MOVES };
    visit("one slot serving, all words", World::serving(short(1), moves), 3, 100);
}

#[test]
fn two_slots_that_serve_with_all_requests() {
    visit("two slots serving", World::serving(short(2), MOVES), 3, 100);
}

#[test]
fn three_slots_that_serve_with_two_replaced_at_a_time() {
    let settings = Settings { reload_parallel: 2, ..short(3) };
    visit("three slots serving", World::serving(settings, Moves { stubborn: true, ..MOVES }), 3, 100);
}

#[test]
fn canary_that_holds() {
    let settings = Settings { asks_canary: true, ..short(2) };
    let moves = Moves { words: &[Word::Recycle(RecycleReason::Operator)], ..MOVES };
    visit("canary", World::serving(settings, moves).after(RELOAD_HOLD).friend(), 3, 100);
}

#[test]
fn upgrade_of_two() {
    visit("upgrade", World::serving(short(2), MOVES).after(Request::Upgrade), 3, 100);
    let moves = Moves { forks: true, stubborn: true, ..MOVES };
    visit("upgrade, forks", World::serving(short(2), moves).after(Request::Upgrade), 3, 100);
}

#[test]
fn stop_delay() {
    let settings = Settings { stop_delay: secs(3), ..short(2) };
    let moves = Moves { words: &[Word::Lead, Word::Abuse], ..MOVES };
    visit("stop delay", World::serving(settings, moves).after(Request::Stop), 3, 100);
}

#[test]
fn leaders() {
    let moves = Moves {
        words: &[Word::Lead],
        requests: &[Request::Reload, Request::Upgrade, Request::Shrink, Request::Stop],
        ..MOVES
    };
    visit("leaders", World::serving(short(2), moves), 3, 100);
}

#[test]
fn events_between_actions() {
    let moves = Moves { words: &[Word::Abuse], between_actions: true, ..MOVES };
    visit("between actions", World::serving(short(1), moves), 3, 100);
}

#[test]
fn all_failures_count() {
    let settings = Settings { recover: RecoverPolicy::new(Some(2), None, ms(300)), ..short(2) };
    let moves = Moves { exits: ALL_EXITS, requests: &[Request::Reload, Request::Grow], ..MOVES };
    visit("all failures count", World::new(settings, moves), 3, 100);
}

#[test]
fn sizes() {
    let moves = Moves {
        sizes: &[1, 2, 3],
        requests: &[Request::Reload, RELOAD_CANARY, Request::Rollback, Request::Upgrade],
        ..MOVES
    };
    visit("sizes", World::serving(short(2), moves), 3, 100);
}
