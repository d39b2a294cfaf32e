//! The bodies with the corpora of the repository. The package has none: there, only its own tests run.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::BODIES;
use crate::skip::skipped;

/// The crate of the targets; `None` outside of the repository.
fn targets() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz");
    path.exists().then_some(path)
}

/// The inputs that are kept of a target.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Some(targets) = targets() else { return Vec::new() };
    let files = fs::read_dir(targets.join("corpus").join(name)).expect("a corpus for each target");
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_input_that_is_kept_passes() {
    if targets().is_none() {
        return skipped("repository");
    }
    for (name, body) in BODIES {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "there is no input for {name}");
        for (path, input) in inputs {
            // Captured output, which a failure shows.
            println!("{}", path.display());
            body(&input);
        }
    }
}

#[test]
fn every_body_has_a_target() {
    let Some(targets) = targets() else { return skipped("repository") };
    for (name, _) in BODIES {
        let target = fs::read_to_string(targets.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("prefork::fuzzing::check(\"{name}\", data)")), "{target}");
    }
}

/// Shown as it can be put into a file.
struct Input(Vec<u8>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A change of an input.
#[derive(Debug, Clone)]
enum Change {
    Replace(u8),
    Insert(Vec<u8>),
    Remove(usize),
    /// The beginning of another input.
    Splice(prop::sample::Index),
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Replace),
        vec(any::<u8>(), 1..8).prop_map(Change::Insert),
        prop::sample::select(vec![" ", "\n", "\0", "%", "=", "\"", "-1", "99999999999999999999", "\u{e9}"])
            .prop_map(|text| Change::Insert(text.into())),
        (1..32_usize).prop_map(Change::Remove),
        any::<prop::sample::Index>().prop_map(Change::Splice),
    ];
    (any::<prop::sample::Index>(), change)
}

/// Random bytes, or an input that is kept, with some changes.
fn input(kept: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    let seeds = [vec![Vec::new()], kept].concat();
    let seed = prop::sample::select(seeds.clone());
    let changed = (seed, vec(change(), 1..4)).prop_map(move |(mut input, changes)| {
        for (place, change) in changes {
            let at = place.index(input.len() + 1);
            let rest = input.split_off(at);
            match change {
                Change::Replace(byte) => input.extend([byte].iter().chain(rest.iter().skip(1))),
                Change::Insert(bytes) => input.extend(bytes.iter().chain(&rest)),
                Change::Remove(length) => input.extend(rest.iter().skip(length)),
                Change::Splice(other) => input.extend(&seeds[other.index(seeds.len())]),
            }
        }
        input
    });
    prop_oneof![3 => changed, 1 => vec(any::<u8>(), 0..200)].prop_map(Input)
}

#[test]
fn every_body_passes_with_random_changes_of_its_inputs() {
    for (name, body) in BODIES {
        let inputs = corpus(name).into_iter().map(|(_, input)| input).collect();
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) };
        let run = |Input(input)| -> Result<(), TestCaseError> {
            body(&input);
            Ok(())
        };
        let outcome = TestRunner::new(config).run(&input(inputs), run);
        assert!(outcome.is_ok(), "{name}: {}", outcome.unwrap_err());
    }
}
