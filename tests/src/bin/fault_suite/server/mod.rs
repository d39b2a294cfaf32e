//! The server under test: this program again, when the option `form` is set. It answers requests for `/r/ID` and
//! `/slow/MILLISECONDS/ID` with the id, and records each connection in the file that the option `accepts` names. With
//! the option `preload` a template forks its children. Its forms:
//!
//! - `plain`: a blocking server, a thread and one request for each connection; it knows nothing of a stop;
//! - `keeping`: a blocking server that keeps connections and takes `Shutdown`;
//! - `async`: a tokio server that keeps connections and does not take `Shutdown`;
//! - `tls`: rustls on tokio, with kept connections; it takes `Shutdown`, and closes idle connections then;
//! - `epoll`: an epoll loop of its own.
//!
//! Faults come as requests (`/abort`, `/panic`, `/exit/STATUS`, `/hang`, `/flood`, `/close`, `/descriptors`), or
//! from the file that the option `behaviour` names; see [`behaviour`].

mod asynchronous;
mod behaviour;
mod blocking;
mod request;

use std::convert::Infallible;
use std::process::ExitCode;

use prefork::{ChildContext, FromChild};
use prefork_tests::{app, link_attack};

pub(crate) fn main(form: &str) -> ExitCode {
    if prefork::is_child() && !app::preloads() {
        Begun::now();
    }
    let fleet = match form {
        "keeping" => app::builder(blocking::serve_keeping),
        "async" => app::builder(asynchronous::serve),
        "tls" => app::builder(asynchronous::serve_tls),
        "epoll" => app::builder(blocking::serve_with_epoll),
        _ => app::builder(blocking::serve_plain),
    };
    app::start(behaviour::with_options(fleet))
}

/// An argument of serve functions: what an executed child does in `main`, a child that a template forks does here.
struct Begun(());

impl Begun {
    fn now() -> Self {
        link_attack::keep_link();
        behaviour::at_start_of_child();
        Self(())
    }
}

impl FromChild for Begun {
    type Error = Infallible;

    fn from_child(_: &ChildContext) -> Result<Self, Infallible> {
        Ok(if app::preloads() { Self::now() } else { Self(()) })
    }
}
