//! A custom protocol on tokio's TCP: the client sends a line, the server answers with a line.
//!
//! ```console
//! $ cargo run --example line_server
//! $ nc 127.0.0.1 8080
//! good day
//! ok good day, says process 4711
//! ```
//!
//! An answer begins with `ok`, or with `bye` if it is the last on this connection. A protocol needs such a
//! marker to close connections without losing a request. Without it the close could cross the next line.

use std::io;
use std::process;
use std::time::Duration;

use prefork::{ChildContext, Shutdown};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How long a client has to close its end after the last answer.
const LINGER: Duration = Duration::from_secs(1);

#[prefork::main]
async fn serve(ln: TcpListener, mut shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    loop {
        tokio::select! {
            accepted = ln.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, shutdown.clone(), child.clone()))),
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            // The process and its runtime continue until the last connection is closed.
            () = &mut shutdown => return Ok(()),
        }
    }
}

async fn converse(stream: TcpStream, mut shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    // A production server would also limit the length of a line and the time to receive it.
    let mut lines = BufReader::new(reader).lines();
    let mut is_over = false;
    while !is_over {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            // By then the connection is quiet.
            () = &mut shutdown => None,
        };
        let Some(line) = line else { break };
        if line == "slow" {
            sleep(Duration::from_millis(1500)).await;
        }
        // No child accepts through this one any more: the client is told to connect again.
        is_over = child.is_stopping();
        let word = if is_over { "bye" } else { "ok" };
        let answer = format!("{word} {line}, says process {}\n", process::id());
        writer.write_all(answer.as_bytes()).await?;
    }
    // The shutdown tells the client of the end, and then it has time to read the last answer. A close while
    // it still sends would reset the connection and could discard that answer.
    writer.shutdown().await?;
    let _ = timeout(LINGER, tokio::io::copy_buf(lines.get_mut(), &mut tokio::io::sink())).await;
    Ok(())
}
