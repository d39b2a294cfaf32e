//! What the compiler says about each kind of misuse, and that what is legal compiles.
//!
//! After a change of wording, `TRYBUILD=overwrite cargo test -p prefork-ui-tests` writes the
//! `.stderr` files anew: read them as the user would.

#[test]
fn misuse() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}

/// Each case has a `main` of its own that ends at once; what the attribute generates is in a module.
#[test]
fn use_as_intended() {
    trybuild::TestCases::new().pass("pass/*.rs");
}
