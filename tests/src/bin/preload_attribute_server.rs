//! A server made by the attribute, with data that a function loads which can fail.

#![allow(clippy::expect_used, reason = "a panic in a server under test fails the test")]

use std::net::TcpListener;

use prefork::{ChildContext, Preloaded};
use prefork_tests::app;

/// What the children share.
struct Index {
    loaded_by: u32,
}

fn load() -> Result<Index, String> {
    if app::option("load").is_some() {
        return Err("no such index".to_owned());
    }
    Ok(Index { loaded_by: std::process::id() })
}

#[prefork::main(
    preload = load,
    addr = app::option("addr").expect("the option addr"),
    workers = 2,
)]
fn serve(ln: TcpListener, index: Preloaded<Index>, child: ChildContext) -> std::io::Result<()> {
    for stream in app::incoming(&ln) {
        let _ = app::answer_or(stream?, |_| format!("{} {}", index.loaded_by, child.slot()));
    }
    Ok(())
}
