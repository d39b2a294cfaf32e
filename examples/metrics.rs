//! Metrics of an axum application: what its children count with the `metrics` facade is the fleet's, and `/metrics`
//! of the master tells it to Prometheus. A dashboard for Grafana is in `examples/deploy/grafana`.
//!
//! ```console
//! $ cargo run --example metrics
//! $ curl http://127.0.0.1:8080/
//! $ curl -s http://127.0.0.1:9090/metrics | grep http_
//! ```
//!
//! With a Prometheus on the same host, which listens on that port itself, set `PREFORK_HEALTH=127.0.0.1:9091`.

use std::io;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use prefork::Shutdown;
use prefork::shared::Recorder;
use tokio::net::TcpListener;

#[prefork::main(health = "127.0.0.1:9090", init = install_recorder)]
async fn serve(ln: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", get(slow))
        .layer(middleware::from_fn(count));
    axum::serve(ln, app).with_graceful_shutdown(shutdown).await
}

/// Runs first in every process, so that no library counts before.
fn install_recorder() {
    if let Err(error) = Recorder::new().install() {
        eprintln!("there are no metrics of this process: {error}");
    }
    describe_counter!("http_requests_total", "Requests that were answered");
    describe_gauge!("http_requests_in_flight", "Requests that are being answered");
    describe_histogram!("http_request_duration_seconds", "Time to answer a request");
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    "slow\n"
}

/// Counts each request, by method, route and status. The route is the pattern, of which there are few, and `none` if the
/// path has no route; the path is what clients choose.
async fn count(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let in_flight = InFlight::begin();
    let start = Instant::now();
    let response = next.run(request).await;
    drop(in_flight);
    let route = route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let status = response.status().as_u16().to_string();
    histogram!("http_request_duration_seconds", "method" => method, "route" => route.clone())
        .record(start.elapsed());
    counter!("http_requests_total", "method" => method, "route" => route, "status" => status).increment(1);
    response
}

/// Clients can choose any word as the method, also where no route is.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A request that is being answered, also if its client goes away meanwhile.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        gauge!("http_requests_in_flight").increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!("http_requests_in_flight").decrement(1.0);
    }
}
