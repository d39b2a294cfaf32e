//! A server whose serve function takes arguments that can fail. The option `form` says how it is made:
//! `blocking` or `async` by the builder, `attribute` or `async_attribute` by the attribute. The option
//! `shard` names a file that each child reads, `pool` an address that children of the async forms connect
//! to and read a byte from.

use std::fs;
use std::io;
use std::process::ExitCode;

use prefork::{AsyncFromChild, ChildContext, FromChild, Shutdown};
use prefork_tests::app;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An argument that fails without its file.
struct Shard {
    _content: Option<Vec<u8>>,
}

impl FromChild for Shard {
    type Error = io::Error;

    fn from_child(_: &ChildContext) -> io::Result<Self> {
        Ok(Self { _content: app::option("shard").map(fs::read).transpose()? })
    }
}

/// An argument that is awaited.
struct Pool {
    greeting: u8,
}

/// Why there is no pool.
#[derive(Debug)]
struct NoPool(io::Error);

impl std::fmt::Display for NoPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no pool")
    }
}

impl std::error::Error for NoPool {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl AsyncFromChild for Pool {
    type Error = NoPool;

    async fn from_child(child: &ChildContext) -> Result<Self, NoPool> {
        let Some(addr) = app::option("pool") else { return Ok(Self { greeting: 0 }) };
        app::print_error(&format!("child {} connects", child.slot()));
        let mut stream = tokio::net::TcpStream::connect(addr).await.map_err(NoPool)?;
        Ok(Self { greeting: stream.read_u8().await.map_err(NoPool)? })
    }
}

fn main() -> ExitCode {
    match app::option("form").as_deref() {
        Some("attribute") => attribute::main(),
        Some("async_attribute") => async_attribute::main(),
        Some("async") => app::start(app::builder(serve_async)),
        _ => app::start(app::builder(serve)),
    }
}

fn serve(ln: std::net::TcpListener, _: Shutdown, _: Shard) -> io::Result<()> {
    for stream in app::incoming(&ln) {
        app::answer(stream?)?;
    }
    Ok(())
}

async fn serve_async(ln: tokio::net::TcpListener, _: Shard, stop: Shutdown, pool: Pool) -> io::Result<()> {
    let accepting = tokio::spawn(accept(ln, pool));
    stop.await;
    accepting.abort();
    Ok(())
}

async fn accept(ln: tokio::net::TcpListener, pool: Pool) -> io::Result<()> {
    loop {
        let (mut stream, _) = ln.accept().await?;
        // All of it: what is not read resets the connection when it is closed.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await? > 0 {}
        let answer = format!("{}{} greeted with {}\n", app::head(), std::process::id(), pool.greeting);
        stream.write_all(answer.as_bytes()).await?;
    }
}

mod attribute {
    use super::*;

    #[prefork::main(addr = "127.0.0.1:0", workers = 2, recover = 0)]
    pub(super) fn main(ln: std::net::TcpListener, stop: Shutdown, shard: Shard) -> io::Result<()> {
        serve(ln, stop, shard)
    }
}

mod async_attribute {
    use super::*;

    #[prefork::main(addr = "127.0.0.1:0", workers = 2, recover = 0)]
    pub(super) async fn main(
        ln: tokio::net::TcpListener,
        shard: Shard,
        stop: Shutdown,
        pool: Pool,
    ) -> io::Result<()> {
        serve_async(ln, shard, stop, pool).await
    }
}
