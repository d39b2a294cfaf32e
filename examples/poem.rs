//! A poem application.
//!
//! ```console
//! $ cargo run --example poem
//! $ curl http://127.0.0.1:8080/
//! ```

use std::future::ready;
use std::io;
use std::process;
use std::time::Duration;

use poem::http::header::{CONNECTION, HeaderValue};
use poem::listener::TcpAcceptor;
use poem::{EndpointExt, Response, Route, Server, get, handler};
use prefork::{ChildContext, Shutdown};
use tokio::net::TcpListener;

#[prefork::main]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
    let routes = Route::new().at("/", get(hello)).at("/slow", get(slow));
    // Errors, such as 404, are answers from here on.
    let app = routes.map_to_response().map(move |answer| ready(announce_close(answer, &child)));
    // When this child is asked to stop, poem closes idle connections, finishes the requests in progress, and
    // returns. It needs no time limit of its own: the grace period is one.
    let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(ln)?);
    server.run_with_graceful_shutdown(app, shutdown, None).await
}

/// Adds `Connection: close` while the child stops, so that clients open a new connection. Without it, the
/// close of an idle connection could cross the next request, which would be lost.
fn announce_close(mut answer: Response, child: &ChildContext) -> Response {
    if child.is_stopping() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[handler]
fn hello() -> String {
    format!("hello from process {}\n", process::id())
}

#[handler]
async fn slow() -> String {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    format!("hello from process {}\n", process::id())
}
