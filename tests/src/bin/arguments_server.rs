//! A blocking server that takes all it can get: the stop signal, the context, a type of its own. The
//! option `stop` says how it learns of a stop: `poll` (the default) asks between connections, `wait`
//! in a thread.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use prefork::{ChildContext, FromChild, Shutdown};
use prefork_tests::app;

/// An argument that the runtime knows nothing of.
struct Shard(String);

impl FromChild for Shard {
    fn from_child(child: &ChildContext) -> Self {
        Self(format!("shard {} of {}", child.slot(), child.fleet_size()))
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
        app::say(&format!("serve: waited for the stop; accepting: {}", !accepting.is_finished()));
        return Ok(());
    }
    accept(&ln, &about, || shutdown.is_requested());
    app::say("serve: left the loop");
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
        _ => format!("no such thing: {path}"),
    })
}
