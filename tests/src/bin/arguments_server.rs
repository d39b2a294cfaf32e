//! A blocking server whose serve function takes `Shutdown`, `ChildContext` and a type of the program. The
//! option `stop` selects how it uses `Shutdown`: `poll` (the default) between connections, `wait` blocks.

use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use prefork::{ChildContext, FromChild, Shutdown};
use prefork_tests::app;

/// An argument of a type that the program defines.
struct Shard(String);

impl FromChild for Shard {
    type Error = Infallible;

    fn from_child(child: &ChildContext) -> Result<Self, Infallible> {
        Ok(Self(format!("shard {} of {}", child.slot(), child.fleet_size())))
    }
}

fn main() -> ExitCode {
    app::start(app::builder(serve))
}

fn serve(ln: TcpListener, shard: Shard, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let about = format!(
        "slot {} of {}, generation {}, master {}, {}",
        child.slot(),
        child.fleet_size(),
        child.generation(),
        child.master_pid(),
        shard.0
    );
    if app::option("stop").as_deref() == Some("wait") {
        let accepting = thread::spawn(move || accept(&ln, &about, || false));
        shutdown.wait();
        app::print_error(&format!("serve: waited for the stop; accepting: {}", !accepting.is_finished()));
        return Ok(());
    }
    accept(&ln, &about, || shutdown.is_requested());
    app::print_error("serve: left the loop");
    Ok(())
}

fn accept(ln: &TcpListener, about: &str, is_over: impl Fn() -> bool) {
    for stream in app::incoming(ln) {
        if is_over() {
            break;
        }
        if let Ok(stream) = stream {
            let about = about.to_owned();
            thread::spawn(move || answer(stream, &about));
        }
    }
}

fn answer(stream: TcpStream, about: &str) -> io::Result<()> {
    app::answer_or(stream, |path| match path {
        "/about" => about.to_owned(),
        _ => format!("unknown path: {path}"),
    })
}
