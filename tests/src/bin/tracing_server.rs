//! An async server whose messages, and prefork's, go to a `tracing` subscriber on standard error. Each
//! request is answered by a task of its own, which logs `answering`.

use std::io;

use prefork_tests::app;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[prefork::main(init = subscribe, addr = app::option("addr").unwrap_or_default(), workers = 2, reuseport = cfg!(windows))]
async fn serve(ln: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = ln.accept().await?;
        tokio::spawn(async move {
            let mut request = Vec::new();
            // To the end: a connection that is closed with something unread is reset.
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            tracing::info!("answering");
            let _ = stream.write_all(format!("{}{}\n", app::head(), std::process::id()).as_bytes()).await;
        });
    }
}

fn subscribe() {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
}
