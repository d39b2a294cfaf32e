//! An async server: an accept loop, and a task for each connection. By default it does not take
//! `Shutdown`; with the option `stop=select` it awaits one. With the option `held`, the children accept by their share
//! of the open connections, and count as many more than they have as it says for their slot: `1000,0,500`.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use prefork::shared::Gauge;
use prefork::{ChildContext, FairShare, Prefork, Shutdown};
use prefork_tests::app;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

static OPEN: Gauge = Gauge::new("test_open_connections", "Open connections");
static SHARE: FairShare = FairShare::new(&OPEN);

fn main() -> ExitCode {
    app::start(match app::option("stop").as_deref() {
        Some("select") => app::builder(serve_until_stopped),
        _ if app::option("held").is_some() => app::builder(serve_by_share),
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

async fn serve_by_share(ln: TcpListener, child: ChildContext, _: app::Booted) -> io::Result<()> {
    let held = app::option("held").unwrap_or_default();
    OPEN.add(held.split(',').nth(child.slot()).and_then(|held| held.parse().ok()).unwrap_or(0));
    loop {
        let (stream, _) = SHARE.accept(ln.accept()).await?;
        let held = OPEN.hold();
        tokio::spawn(async move {
            let _held = held;
            answer(stream).await
        });
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
    if app::path_of(&request) == "/share" {
        return stream
            .write_all(format!("{} {}\n", std::process::id(), SHARE.is_exceeded()).as_bytes())
            .await;
    }
    stream.write_all(format!("{}\n", std::process::id()).as_bytes()).await
}
