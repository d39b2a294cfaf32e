//! A plain blocking server that knows nothing of prefork but its builder: an accept loop, and a
//! thread for each connection; with the option `one_by_one` none, but one connection at a time.

use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;

use prefork_tests::app;

fn main() -> ExitCode {
    if app::ran_errand() {
        return ExitCode::SUCCESS;
    }
    app::start(app::builder(serve))
}

fn serve(ln: TcpListener) -> std::io::Result<()> {
    let one_by_one = app::option("one_by_one").is_some();
    for stream in app::incoming(&ln) {
        let stream = stream?;
        if one_by_one {
            // What a client does is no reason to end.
            let _ = app::answer(stream);
        } else {
            thread::spawn(move || app::answer(stream));
        }
    }
    Ok(())
}
