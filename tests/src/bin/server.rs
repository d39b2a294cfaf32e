//! A plain blocking server that knows nothing of prefork but its builder: an accept loop, and a
//! thread for each connection.

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
    for stream in app::incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || app::answer(stream));
    }
    Ok(())
}
