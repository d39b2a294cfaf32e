//! A warp application.
//!
//! ```console
//! $ cargo run --example warp
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io;
use std::process;
use std::time::Duration;

use prefork::{ChildContext, Shutdown};
use tokio::net::TcpListener;
use warp::http::header::{CONNECTION, HeaderValue};
use warp::reply::{Reply, Response};
use warp::{Filter, path};

/// How long idle connections stay open after the stop request.
const LAST_CALL: Duration = Duration::from_secs(1);

// On Windows `reuseport` has to be set.
#[prefork::main(reuseport = cfg!(windows))]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let hello = path::end().map(hello);
    let slow = warp::path!("slow").then(slow);
    // Rejections do not pass through `map`; a production server would `recover` from them first.
    let routes = hello.or(slow).unify().map(move |body| announce_close(body, &child));
    // After the stop request there are no new connections. Open ones get some time for a last request with
    // `Connection: close`; then warp closes the idle ones, finishes the requests in progress, and returns.
    let stop = async move {
        shutdown.await;
        tokio::time::sleep(LAST_CALL).await;
    };
    warp::serve(routes).incoming(ln).graceful(stop).run().await;
    Ok(())
}

/// Adds `Connection: close` while the child stops, so that clients open a new connection. Without it, the
/// close of an idle connection could cross the next request, which would be lost.
fn announce_close(body: String, child: &ChildContext) -> Response {
    let mut response = body.into_response();
    if child.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn hello() -> String {
    format!("hello from process {}\n", process::id())
}

async fn slow() -> String {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    hello()
}
