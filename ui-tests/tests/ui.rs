//! The compiler's messages about misuse of the attribute; and valid programs, which compile.
//!
//! After a message has changed, `TRYBUILD=overwrite cargo test -p prefork-ui-tests` writes the `.stderr`
//! files anew. Review the difference.

#[test]
fn misuse_is_reported() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}

/// Each case has a `main` that returns at once; generated code is in a module.
#[test]
fn valid_programs_compile() {
    trybuild::TestCases::new().pass("pass/*.rs");
}
