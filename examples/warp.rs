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

/// How long connections that wait for another request are kept once this child is to stop.
const LAST_CALL: Duration = Duration::from_secs(1);

// Windows wants `reuseport` said.
#[prefork::main(reuseport = cfg!(windows))]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let hello = path::end().map(hello);
    let slow = warp::path!("slow").then(slow);
    // Rejections do not pass through `map`: a real server would `recover` from them first.
    let routes = hello.or(slow).unify().map(move |body| announce_close(body, &child));
    // When this child is to stop, no new connection comes in. The open ones get some time to hear of
    // it; then warp closes those that are idle, finishes the requests under way, and returns.
    let stop = async move {
        shutdown.await;
        tokio::time::sleep(LAST_CALL).await;
    };
    warp::serve(routes).incoming(ln).graceful(stop).run().await;
    Ok(())
}

/// Tells clients that keep their connection not to use it again. One that was closed without a word
/// could meet their next request, which would be lost.
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
