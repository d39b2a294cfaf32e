//! An async server: an accept loop, and a task for each connection. By default it does not take
//! `Shutdown`; with the option `stop=select` it awaits one.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use prefork::{Prefork, Shutdown};
use prefork_tests::app;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

fn main() -> ExitCode {
    app::start(match app::option("stop").as_deref() {
        Some("select") => app::builder(serve_until_stopped),
        _ => with_hang_timeout(app::builder(serve)),
    })
}

/// Applies the option `hang_timeout`.
fn with_hang_timeout(fleet: Prefork) -> Prefork {
    match app::option("hang_timeout") {
        Some(timeout) => fleet.hang_timeout(timeout),
        None => fleet,
    }
}

async fn serve(ln: TcpListener, _: app::Booted) -> io::Result<()> {
    loop {
        let (stream, _) = ln.accept().await?;
        tokio::spawn(answer(stream));
    }
}

async fn serve_until_stopped(ln: TcpListener, shutdown: Shutdown, booted: app::Booted) -> io::Result<()> {
    let served = tokio::spawn(serve(ln, booted));
    shutdown.await;
    app::print_error(&format!("serve: stop requested, accepting: {}", !served.is_finished()));
    served.abort();
    Ok(())
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let Some(request) = app::read_request(&mut stream).await? else { return Ok(()) };
    stream.write_all(app::head().as_bytes()).await?;
    if app::path_of(&request) == "/block" {
        std::thread::sleep(Duration::MAX);
    }
    if app::path_of(&request) == "/gate" {
        while !app::gate_is_open() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    stream.write_all(format!("{}\n", std::process::id()).as_bytes()).await
}
