//! An axum application: an `async` serve function, on a tokio runtime in each child.
//!
//! ```console
//! $ cargo run --example axum
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io;
use std::process;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use prefork::{ChildContext, Shutdown};
use tokio::net::TcpListener;

// No `#[tokio::main]`: a runtime that is started before the processes part cannot be shared by them.
// Each child gets one of its own, with one thread; `runtime = "multi_thread"` gives it more.
#[prefork::main]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let app = Router::new().route("/", get(hello)).with_state(child);
    // When the fleet is to stop or this child is replaced, axum finishes the requests under way,
    // closes the connections that wait for another request, and returns.
    axum::serve(ln, app).with_graceful_shutdown(shutdown).await
}

async fn hello(State(child): State<ChildContext>) -> String {
    format!("hello from process {} in slot {}\n", process::id(), child.slot())
}
