//! Servers whose arguments `Preloaded` are not what is loaded. The option `case` selects one; the default is one of the
//! attribute.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use prefork::{ChildContext, FromChild, NotPreloaded, Preloaded, Shutdown};
use prefork_tests::app;

/// An argument that does not tell the master what it takes.
struct Wrapper(Preloaded<String>);

impl FromChild for Wrapper {
    type Error = NotPreloaded;

    fn from_child(child: &ChildContext) -> Result<Self, NotPreloaded> {
        Preloaded::from_child(child).map(Self)
    }
}

fn main() -> ExitCode {
    app::start(match app::option("case").as_deref() {
        Some("not-set") => app::builder(plain),
        Some("not-set-async") => app::builder(awaiting),
        Some("other") => app::builder(plain).preload(load),
        Some("other-async") => app::builder(awaiting).preload(load),
        Some("second") => app::builder(two).preload(load),
        Some("result") => app::builder(plain).preload(|| Ok::<_, Infallible>("text".to_owned())),
        Some("wrapper") => app::builder(wrapped).preload(load),
        _ => return attribute::main(),
    })
}

fn load() -> u32 {
    app::print_error("loads");
    7
}

fn plain(ln: TcpListener, text: Preloaded<String>) -> io::Result<()> {
    app::print_error(&text);
    app::answer_all(&ln)
}

fn two(ln: TcpListener, number: Preloaded<u32>, _: Shutdown, text: Preloaded<String>) -> io::Result<()> {
    app::print_error(&format!("{number:?}"));
    plain(ln, text)
}

fn wrapped(ln: TcpListener, wrapper: Wrapper) -> io::Result<()> {
    plain(ln, wrapper.0)
}

async fn awaiting(ln: tokio::net::TcpListener, text: Preloaded<String>) -> io::Result<()> {
    app::print_error(&text);
    ln.accept().await.map(drop)
}

mod attribute {
    use super::{Preloaded, app, awaiting, io, load};

    #[prefork::main(preload = load)]
    pub(super) async fn main(
        ln: tokio::net::TcpListener,
        number: Preloaded<u32>,
        text: Preloaded<String>,
    ) -> io::Result<()> {
        app::print_error(&format!("{number:?}"));
        awaiting(ln, text).await
    }
}
