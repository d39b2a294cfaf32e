//! Serve functions that take what `preload` does not load.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::panic, reason = "a panic in a test helper fails the test")]

use prefork_tests::fleet::Server;

#[test]
fn argument_that_is_not_loaded_is_refused_before_a_template_is_started() {
    const TEXT: &str = "a function that loads `alloc::string::String`, because the serve function takes \
                        `Preloaded<alloc::string::String>`";
    let other = format!("preload cannot be `a function that loads u32`: expected {TEXT}");
    let unset = format!("preload is not set: expected {TEXT}");
    for (case, reason) in [
        ("not-set", unset.as_str()),
        ("not-set-async", &unset),
        ("other", &other),
        ("other-async", &other),
        ("second", &other),
        ("result", "`try_preload` is for a function that returns a `Result`"),
    ] {
        for workers in [1, 0] {
            mismatch(case).set("workers", workers).run().assert_refused(reason);
        }
    }
}

#[test]
fn argument_of_an_attribute_that_is_not_loaded_is_refused() {
    let outcome = mismatch("attribute").run();
    let [line] = &outcome.stderr[..] else { panic!("{outcome:#?}") };
    assert!(line.contains("preload cannot be `a function that loads u32`"), "{line}");
    assert_eq!((outcome.status.code(), outcome.children), (Some(1), 0));
}

#[test]
fn argument_that_takes_another_type_by_itself_is_refused_in_a_child() {
    let outcome = mismatch("wrapper").run();
    let reason =
        "cannot make the argument `preload_mismatch_server::Wrapper`: the option `preload` loads `u32`";
    assert!(outcome.stderr.iter().any(|line| line.contains(reason)), "{outcome:#?}");
    assert_eq!(outcome.status.code(), Some(1));
}

fn mismatch(case: &str) -> Server {
    Server::new(env!("CARGO_BIN_EXE_preload_mismatch_server")).set("case", case)
}
