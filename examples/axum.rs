//! An axum application: an `async` serve function, on a tokio runtime in each child.
//!
//! ```console
//! $ cargo run --example axum
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io;
use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response_with_state;
use axum::response::Response;
use axum::routing::get;
use axum::serve::Listener;
use prefork::{ChildContext, Shutdown};
use tokio::net::{TcpListener, TcpStream};

/// How long idle connections are kept once this child is asked to stop.
const LAST_CALL: Duration = Duration::from_secs(1);

// No `#[tokio::main]`: a runtime cannot be shared by processes. Each child gets its own, with one thread;
// `runtime = "multi_thread"` gives it more. Windows needs `reuseport`.
#[prefork::main(reuseport = cfg!(windows))]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let announce = map_response_with_state(child.clone(), announce_close);
    let app =
        Router::new().route("/", get(hello)).route("/slow", get(slow)).layer(announce).with_state(child);
    // Once this child is asked to stop, no new connection comes in. Clients get some time to be told on
    // the open ones; then axum closes those that are idle, finishes the requests under way, and returns.
    // axum itself handles clients that reset their connections, also before they are accepted.
    let ln = UntilStop(ln, shutdown.clone());
    let stop = async move {
        shutdown.await;
        tokio::time::sleep(LAST_CALL).await;
    };
    axum::serve(ln, app).with_graceful_shutdown(stop).await
}

/// A listener that accepts until this child is asked to stop. Windows would let connections in for as long
/// as axum accepts, and close those of the last moment with the idle ones.
struct UntilStop(TcpListener, Shutdown);

impl Listener for UntilStop {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        tokio::select! {
            accepted = Listener::accept(&mut self.0) => accepted,
            () = &mut self.1 => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Tells clients that keep their connection not to use it again. One that was closed without notice could
/// meet their next request, which would be lost.
async fn announce_close(State(child): State<ChildContext>, mut response: Response) -> Response {
    if child.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn hello(State(child): State<ChildContext>) -> String {
    format!("hello from process {} in slot {}\n", process::id(), child.slot())
}

async fn slow(child: State<ChildContext>) -> String {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    hello(child).await
}
