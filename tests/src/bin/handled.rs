//! A server that is stopped through its `FleetHandle`: once for each byte in the file that the option
//! `stops` names. The option `early` says how often it is stopped before it starts.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use prefork::FleetHandle;
use prefork_tests::app;

fn main() -> ExitCode {
    let fleet = app::builder(serve);
    let stop = fleet.handle();
    let early = app::option("early").and_then(|times| times.parse().ok()).unwrap_or(0);
    (0..early).for_each(|_| stop.stop());
    if let Some(path) = app::option("stops").filter(|_| !prefork::is_child()) {
        thread::spawn(move || stop_by(&path, &stop));
    }
    app::start(fleet)
}

fn stop_by(path: &str, stop: &FleetHandle) {
    let mut stops = 0;
    loop {
        let wanted = fs::metadata(path).map_or(0, |file| file.len());
        (stops..wanted).for_each(|_| stop.stop());
        stops = wanted;
        thread::sleep(Duration::from_millis(5));
    }
}

fn serve(ln: TcpListener) -> io::Result<()> {
    for stream in app::incoming(&ln) {
        let stream = stream?;
        thread::spawn(move || app::answer(stream));
    }
    Ok(())
}
