//! An axum application: an `async` serve function, on a tokio runtime in each child.
//!
//! ```console
//! $ cargo run --example axum
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io;
use std::process;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use prefork::{ChildContext, ConnectionCloseLayer, Shutdown};
use tokio::net::TcpListener;

// No `#[tokio::main]`: a runtime cannot be shared by processes. Each child gets its own, with one thread;
// `runtime = "multi_thread"` gives it more.
#[prefork::main]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let app = Router::new()
        .route("/", get(hello))
        .route("/slow", get(slow))
        // Tells clients that keep their connection not to use it again once this child stops.
        .layer(ConnectionCloseLayer::new(&child))
        .with_state(child);
    // When this child is asked to stop, axum closes idle connections, finishes the requests in progress, and
    // returns. axum itself handles clients that reset their connections, also before they are accepted.
    axum::serve(ln, app).with_graceful_shutdown(shutdown).await
}

async fn hello(State(child): State<ChildContext>) -> String {
    format!("hello from process {} in slot {}\n", process::id(), child.slot())
}

async fn slow(child: State<ChildContext>) -> String {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    hello(child).await
}
