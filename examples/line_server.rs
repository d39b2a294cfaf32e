//! A protocol of one's own on tokio's TCP: the client sends a line, the server answers with one.
//!
//! ```console
//! $ cargo run --example line_server
//! $ nc 127.0.0.1 8080
//! good day
//! ok good day, says process 4711
//! ```
//!
//! An answer begins with `ok`, or with `bye` if it is the last on this connection. A protocol needs
//! such a word if its connections are to be closed without losing a request: without it the client's
//! next line may meet the close.

use std::io;
use std::pin::pin;
use std::process;
use std::time::Duration;

use prefork::Shutdown;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How long connections that wait for another line are kept once this child is to stop.
const LAST_CALL: Duration = Duration::from_secs(1);

// Windows wants `reuseport` said.
#[prefork::main(reuseport = cfg!(windows))]
async fn serve(ln: TcpListener, mut shutdown: Shutdown) -> io::Result<()> {
    loop {
        tokio::select! {
            accepted = ln.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, shutdown.clone()))),
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            // The process, and with it the runtime, lasts until the last connection is closed.
            () = &mut shutdown => return Ok(()),
        }
    }
}

async fn converse(stream: TcpStream, shutdown: Shutdown) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    // A real server would also limit the length of a line, and the time that it takes.
    let mut lines = BufReader::new(reader).lines();
    let stop = shutdown.clone();
    let mut last_call = pin!(async move {
        stop.await;
        sleep(LAST_CALL).await;
    });
    let mut is_over = false;
    while !is_over {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            () = &mut last_call => None,
        };
        let Some(line) = line else { break };
        if line == "slow" {
            sleep(Duration::from_millis(1500)).await;
        }
        is_over = shutdown.is_requested();
        let word = if is_over { "bye" } else { "ok" };
        let answer = format!("{word} {line}, says process {}\n", process::id());
        writer.write_all(answer.as_bytes()).await?;
    }
    // The client is told of the end, and then given the time to read the last answer: to close while
    // it still sends would reset the connection, and could take that answer away.
    writer.shutdown().await?;
    let _ = timeout(LAST_CALL, tokio::io::copy_buf(lines.get_mut(), &mut tokio::io::sink())).await;
    Ok(())
}
