//! An actix-web application. actix has its own runtime, threads and signal handling, so the serve function
//! is not async.
//!
//! ```console
//! $ cargo run --example actix
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io;
use std::net::TcpListener;
use std::process;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::{self, System};
use actix_web::{App, Error, HttpServer, web};
use prefork::ChildContext;

/// How long a connection may wait for a request. actix closes no idle connection earlier, so this time has
/// to be shorter than `shutdown_grace`, 5 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

// The function does not take `Shutdown`. After a stop request this child gets no new connection (on Windows
// it does until no client is left), and the process ends when the last connection is closed.
// `ServerHandle::stop` would drop connections that were just accepted, and sometimes requests in progress,
// because its threads may end in the wrong order.
#[prefork::main]
fn serve(ln: TcpListener, child: ChildContext) -> io::Result<()> {
    System::new().block_on(async move {
        let child = web::Data::new(child);
        let app = move || {
            App::new()
                .app_data(child.clone())
                .wrap(from_fn(announce_close))
                .route("/", web::get().to(hello))
                .route("/slow", web::get().to(slow))
        };
        // One worker thread, because the fleet has a process per core. The master handles signals.
        HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(KEEP_ALIVE)
            .listen(ln)?
            .run()
            .await
    })
}

/// Adds `Connection: close` while the child stops, so that clients open a new connection. Without it, the
/// close of an idle connection could cross the next request, which would be lost.
async fn announce_close(
    child: web::Data<ChildContext>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    if child.is_stopping() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

async fn hello() -> String {
    format!("hello from process {}\n", process::id())
}

async fn slow() -> String {
    rt::time::sleep(Duration::from_millis(1500)).await;
    hello().await
}
