//! An async server: an accept loop, and a task for each connection. The option `stop` says whether
//! it learns of a stop: by default it knows nothing of stops, with `select` it awaits one.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use prefork::{Prefork, Shutdown};
use prefork_tests::app;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> ExitCode {
    app::start(match app::option("stop").as_deref() {
        Some("select") => app::builder(serve_until_stopped),
        _ => watched(app::builder(serve)),
    })
}

/// The option `hang_timeout`.
fn watched(fleet: Prefork) -> Prefork {
    match app::option("hang_timeout") {
        Some(timeout) => fleet.hang_timeout(timeout),
        None => fleet,
    }
}

async fn serve(ln: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = ln.accept().await?;
        tokio::spawn(answer(stream));
    }
}

async fn serve_until_stopped(ln: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    let served = tokio::spawn(serve(ln));
    shutdown.await;
    app::say(&format!("serve: stop requested, accepting: {}", !served.is_finished()));
    served.abort();
    Ok(())
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
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
