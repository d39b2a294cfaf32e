//! A blocking server that uses nothing of prefork but its builder: an accept loop, and a thread for each
//! connection. With the option `one_by_one` it serves one connection at a time, without threads.

use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;

use prefork_tests::app;

fn main() -> ExitCode {
    if app::ran_subcommand() {
        return ExitCode::SUCCESS;
    }
    app::start(app::builder(serve))
}

fn serve(ln: TcpListener, _: app::Booted) -> std::io::Result<()> {
    let one_by_one = app::option("one_by_one").is_some();
    for stream in app::incoming(&ln) {
        let stream = stream?;
        if one_by_one {
            // An error of one connection does not end the server.
            let _ = app::answer(stream);
        } else {
            thread::spawn(move || app::answer(stream));
        }
    }
    Ok(())
}
