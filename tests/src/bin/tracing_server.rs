//! An async server with a `tracing` subscriber that writes its messages and those of prefork to standard
//! error. A task answers each request and logs `answering`.

use std::io;

use prefork_tests::app;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

#[prefork::main(init = subscribe, addr = app::option("addr").unwrap_or_default(), workers = 2)]
async fn serve(ln: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = ln.accept().await?;
        tokio::spawn(async move {
            // The request is read completely: closing with unread bytes would reset the connection.
            let Ok(Some(_)) = app::read_request(&mut stream).await else { return };
            tracing::info!("answering");
            let _ = stream.write_all(format!("{}{}\n", app::head(), std::process::id()).as_bytes()).await;
        });
    }
}

fn subscribe() {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
}
