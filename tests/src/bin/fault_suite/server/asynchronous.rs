//! Servers on tokio: a task for each connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::time::Duration;

use prefork::tokio_rustls::TlsAcceptor;
use prefork::{ChildContext, Shutdown};
use prefork_tests::accepts::Stage;
use prefork_tests::app;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::Begun;
use super::request::{self, Accepted, Request};

/// How long a client may take for the handshake of TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn serve(ln: TcpListener, _: Begun, child: ChildContext) -> io::Result<()> {
    request::prepare();
    loop {
        match ln.accept().await {
            Ok((stream, peer)) => {
                let connection = Accepted::from(peer);
                tokio::spawn(keep(stream, connection, child.clone(), None));
            }
            Err(_) => sleep(request::PAUSE).await,
        }
    }
}

pub(super) async fn serve_tls(
    ln: TcpListener,
    _: Begun,
    acceptor: TlsAcceptor,
    child: ChildContext,
    shutdown: Shutdown,
) -> io::Result<()> {
    request::prepare();
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(accepted) = unless_stopped(ln.accept(), Some(shutdown.clone())).await {
        let Ok((stream, peer)) = accepted else {
            // Without a free descriptor `accept` fails behind the closed gate as well.
            if shutdown.is_requested() {
                break;
            }
            sleep(request::PAUSE).await;
            continue;
        };
        let connection = Accepted::from(peer);
        let (acceptor, child, stop) = (acceptor.clone(), child.clone(), shutdown.clone());
        tasks.spawn(async move {
            stream.set_nodelay(true)?;
            let stream = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await??;
            keep(stream, connection, child, Some(stop)).await
        });
        while tasks.try_join_next().is_some() {}
    }
    drop(ln);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// The result of `work`, unless the stop is requested before.
async fn unless_stopped<T>(work: impl Future<Output = T>, stop: Option<Shutdown>) -> Option<T> {
    let mut work = pin!(work);
    let mut stop = pin!(async move {
        match stop {
            Some(stop) => stop.await,
            None => std::future::pending().await,
        }
    });
    poll_fn(|context| match work.as_mut().poll(context).map(Some) {
        std::task::Poll::Pending => stop.as_mut().poll(context).map(|()| None),
        done => done,
    })
    .await
}

/// Answers requests until the client closes the connection or the child stops.
async fn keep(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Accepted,
    child: ChildContext,
    stop: Option<Shutdown>,
) -> io::Result<()> {
    loop {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            match unless_stopped(stream.read_buf(&mut bytes), stop.clone()).await {
                Some(Ok(0)) => return Ok(()),
                Some(read) => drop(read?),
                // The plainest code: what has not been asked for is not served any more.
                None => {
                    peer.record(Stage::Closed);
                    return stream.shutdown().await;
                }
            }
        }
        peer.record(Stage::Read);
        let id = match request::begin(&app::path_of(&bytes)) {
            Request::Answer(id) => id,
            Request::AnswerAfter(delay, id) => {
                sleep(delay).await;
                id
            }
            Request::Fault => "done".to_owned(),
            // The runtime makes no progress from here on.
            Request::Hang => request::hang(),
        };
        let last = child.is_stopping();
        stream.write_all(&request::answer(&id, last)).await?;
        stream.flush().await?;
        peer.record(Stage::Answered);
        if last {
            return stream.shutdown().await;
        }
    }
}
