//! The body with the inputs that the repository keeps, and with random arguments. The package has no inputs.

use std::path::Path;
use std::{fs, iter};

use prefork_options::OPTIONS;
use proptest::collection::vec;
use proptest::prelude::*;

use super::attribute;

#[test]
fn every_input_that_is_kept_passes() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz");
    if !targets.exists() {
        return println!("skipped: the package is outside of its repository, which has the inputs");
    }
    let files = fs::read_dir(targets.join("corpus/attribute")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert!(!paths.is_empty());
    paths.sort();
    for path in paths {
        // Captured output, which a failure shows.
        println!("{}", path.display());
        attribute(&fs::read(path).unwrap());
    }
}

/// A part of an option list: a name, a value, or something that has no place there.
fn part() -> impl Strategy<Value = String> {
    let names: Vec<String> = OPTIONS.iter().map(|row| row.name.to_owned()).collect();
    let usages: Vec<String> = OPTIONS.iter().map(|row| format!("{},", row.usage())).collect();
    let tokens = [
        "=",
        ",",
        ",,",
        "true",
        "-1",
        "0x10",
        "1.5",
        "\"a\"",
        "b\"a\"",
        "r#x",
        "'a'",
        "'b",
        "|x| x",
        "()",
        "{ }",
        "[\"a\", 1]",
        "a::b",
        "!",
        "\"127.0.0.1:80\"",
        "\"5s\"",
        "include_str!(\"a\")",
        "$",
        "#[x]",
    ];
    prop_oneof![
        prop::sample::select(names),
        prop::sample::select(usages),
        prop::sample::select(tokens.map(str::to_owned).to_vec()),
        "[ -~]{0,4}",
    ]
}

/// A function, or something like one.
fn item() -> impl Strategy<Value = String> {
    let words = [
        "fn serve(",
        "fn main(",
        "ln: TcpListener",
        "ln: &mut tokio::net::TcpListener",
        ", cert: &Path, key: &Path",
        ", s: prefork::Shutdown",
        ", self",
        ") ",
        "{}",
        "{ ",
        "-> io::Result<()>",
        "async ",
        "unsafe ",
        "pub ",
        "#[tokio::main] ",
        "<T>",
        "where T: X",
        "struct A;",
        "impl Fn()",
        "(ln, x): (UnixListener, B)",
        ": ",
    ];
    let words = words.map(str::to_owned).to_vec();
    vec(prop::sample::select(words), 0..8).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_arguments_and_items_are_expanded(parts in vec(part(), 0..8), item in prop::option::of(item())) {
        let lines: Vec<String> = iter::once(parts.join(" ")).chain(item).collect();
        attribute(lines.join("\n").as_bytes());
    }
}
