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

#[prefork::main]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let hello = path::end().map(hello);
    let slow = warp::path!("slow").then(slow);
    // Rejections do not pass through `map`; a production server would `recover` from them first.
    let routes = hello.or(slow).unify().map(move |body| announce_close(body, &child));
    // When this child is asked to stop, warp closes idle connections, finishes the requests in progress, and
    // returns.
    warp::serve(routes).incoming(ln).graceful(shutdown).run().await;
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
